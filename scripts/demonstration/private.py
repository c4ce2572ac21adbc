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
model.ocr(open(sys.argv[1], "rb").read())
print("ready", flush=True)
sys.stdin.read()
"""


class Cost(NamedTuple):
    """Memory in bytes, and seconds until every process had read its first page."""

    memory: int
    seconds: float


def measure(copies: int, page: Path) -> Cost:
    """Start so many processes at once, each with a model of its own, and weigh them."""
    start = time.monotonic()
    command = [sys.executable, "-c", _PROGRAM, str(page)]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for _ in range(copies)
    ]
    try:
        for process in running:
            assert process.stdout is not None
            if not process.stdout.readline():
                raise RuntimeError(f"a private copy ended with exit code {process.wait()}")
        return Cost(proportional(process.pid for process in running), time.monotonic() - start)
    finally:
        for process in running:
            process.communicate()
