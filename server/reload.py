"""The configuration file read again, by a process of its own: what checks it stays out of this one."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Final

from sharedmodel.errors import BadArgument

from .settings import Settings

TIMEOUT: Final = 30.0


def again(settings: Settings) -> Settings:
    """The settings as the file has them now. Raises BadArgument when it has mistakes."""
    if settings.config_file is None:
        return settings
    command = [sys.executable, "-P", "-m", "sharedmodel.server.config", settings.config_file]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise BadArgument(f"{settings.config_file} could not be read within {TIMEOUT:g} s") from None
    if done.returncode != 0:
        raise BadArgument(done.stderr.strip() or f"exit code {done.returncode}")
    # Where it serves and whom it lets in was settled when the sockets were made.
    kept = {name: getattr(settings, name) for name in ("runtime_dir", "group", "idle_exit", "embedded")}
    try:
        return dataclasses.replace(Settings.from_json(done.stdout), **kept)
    except (ValueError, TypeError, KeyError) as exc:  # of a package that was replaced while this one serves
        raise BadArgument(f"another version than the one that serves has read it: restart the server ({exc})") from exc
