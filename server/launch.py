"""From the command line to a supervisor: check everything, then become one.

The process is replaced, not forked: the supervisor has the pid that was started and none of the
libraries that read the command line and checked the configuration.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from typing import NoReturn

from sharedmodel.errors import BadArgument

from .boot import text_file
from .place import Place
from .settings import Settings


def settings_for(config: str | None, *, embedded: bool, runtime_dir: str | None, idle_exit: float | None) -> Settings:
    """The settings that a command line means. Raises BadArgument."""
    from . import config as configuration

    if embedded == (config is not None):
        raise BadArgument(
            "give a configuration file to serve, or --embedded, not both"
            if embedded
            else "give a configuration file to serve (or --embedded)"
        )
    settings = configuration.embedded() if config is None else configuration.load(config)
    if idle_exit is not None:
        settings = dataclasses.replace(settings, idle_exit=idle_exit or None)
    given = [name for name, value in {"runtime_dir": runtime_dir, "idle_exit": idle_exit}.items() if value is not None]
    return dataclasses.replace(settings, runtime_dir=runtime_dir or settings.runtime_dir, given=given)


def launch(settings: Settings) -> NoReturn:
    """Become the supervisor. Raises NotPermitted or BadArgument when the runtime directory won't do."""
    place = Place.find(settings.runtime_dir)
    if settings.group is not None:
        place.admit(settings.group)
    fd = text_file("sharedmodel-settings", settings.to_json())
    os.set_inheritable(fd, True)
    command = [sys.executable, "-P", "-m", "sharedmodel.server.supervisor", place.directory, str(fd)]
    os.execv(sys.executable, command)
