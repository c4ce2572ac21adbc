"""A manager's process goes with its program, however that ends, and leaves nothing behind."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .crowd import ROOT

SCRIPT = Path(__file__).parent / "programs" / "left.py"
CODES = {"end": 0, "error": 1, "sys.exit": 5, "os._exit": 6, "SIGKILL": -9, "SIGTERM": -15, "SIGINT": -2}


@pytest.mark.parametrize(
    ("how", "method", "calls"),
    [
        *((how, "fork", 0) for how in ("error", "sys.exit", "os._exit", "SIGTERM", "SIGINT")),
        *(("SIGKILL", method, 0) for method in ("fork", "spawn", "forkserver")),
        ("SIGKILL", "fork", 5), ("sys.exit", "fork", 5),
    ],
)  # fmt: skip
def test_the_managers_process_ends_with_its_program(how: str, method: str, calls: int) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    program = subprocess.Popen(
        [sys.executable, str(SCRIPT), method, how, str(calls)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, text=True,
    )  # fmt: skip
    with program:
        assert program.stdout is not None and program.stdin is not None
        pid, address = program.stdout.readline().split()
        pidfd = os.pidfd_open(int(pid))
        try:
            assert os.path.exists(address)
            if how.startswith("SIG"):
                program.send_signal(signal.Signals[how])
            else:
                program.stdin.write("\n")
                program.stdin.flush()
            assert program.wait(20) in (CODES[how], 1 if how == "SIGINT" else CODES[how])
            assert select.select([pidfd], [], [], 20)[0], "the manager's process is still there"
        finally:
            os.close(pidfd)
        assert not os.path.exists(address)
