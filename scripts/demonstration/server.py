"""The server of the demo: the real command line, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sharedmodel.runtime import VARIABLE

_CONFIG = """\
[models.ocr]
kind = "cnocr"
threads = 1
"""


@contextmanager
def serving(folder: Path) -> Iterator[Path]:
    """`sharedmodel serve` with one OCR model; its log file. Ends it with `sharedmodel stop`."""
    config, log = folder / "demo.toml", folder / "server.log"
    config.write_text(_CONFIG)
    os.environ[VARIABLE] = str(folder)
    command = [sys.executable, "-m", "sharedmodel.server.cli"]
    with log.open("wb") as out:
        server = subprocess.Popen([*command, "serve", str(config)], stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    try:
        yield log
    finally:
        subprocess.run([*command, "stop"], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
