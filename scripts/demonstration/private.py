"""The way without a server: every process loads the model for itself."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from .memory import proportional

_PROGRAM = """
import sys
from sharedmodel.server.models.cnocr import CnOcrModel
model = CnOcrModel(threads=1)
pages = [open(path, "rb").read() for path in sys.argv[1:]]
model.ocr(pages[0])
print("ready", flush=True)
for page in pages[1:]:
    model.ocr(page)
print("done", flush=True)
sys.stdin.read()
"""


class Cost(NamedTuple):
    """Memory in bytes after the work, and seconds until every process had read its first page."""

    memory: int
    seconds: float


def measure(copies: int, paths: list[Path]) -> Cost:
    """Start so many processes at once, each with a model of its own and its part of the pages; weigh them."""
    start = time.monotonic()
    running = [_start(paths[index::copies]) for index in range(copies)]
    try:
        _await(running)
        ready = time.monotonic() - start
        _await(running)
        return Cost(proportional(process.pid for process in running), ready)
    finally:
        for process in running:
            process.communicate()


def _start(paths: list[Path]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", _PROGRAM, *map(str, paths)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def _await(running: list[subprocess.Popen[bytes]]) -> None:
    for process in running:
        assert process.stdout is not None
        if not process.stdout.readline():
            raise RuntimeError(f"a private copy ended with exit code {process.wait()}")
