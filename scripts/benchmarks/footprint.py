"""What a client costs in memory and start-up, measured in fresh processes."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

from .served import Ours
from .table import Row

RUNS = 9

_BARE = "import numpy"
_CONNECTED = """
import sys
from sharedmodel.client.model import Model
from sharedmodel.sessions import SESSIONS
session = SESSIONS.current(sys.argv[1])
session.control("ping")
"""
_CALLING = """
import numpy as np
ident, _ = session.control("create", "Subject", [], {})
for _ in range(100):
    session.call(ident, "echo", (np.zeros(512),), {})
"""
_MEASURE = """
import os
with open("/proc/self/statm") as statm:
    print(int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE"), file=sys.stderr)
print(sum("tracker" in line for line in os.popen("ps --ppid %d -o args=" % os.getpid())))
"""
_TIMED = "import sys, time; {}; start = time.perf_counter()\n{}\nprint(time.perf_counter() - start)"


def run() -> list[Row]:
    """The rows of the table."""
    with Ours() as manager:
        address = str(manager.address)
        others = [
            _spawn(_BARE + _CONNECTED + _CALLING + "\nprint(flush=True); sys.stdin.read()", address) for _ in range(9)
        ]
        for other in others:
            assert other.stdout is not None
            other.stdout.readline()
        bare = statistics.median(_resident(_BARE + "\nimport sys", address) for _ in range(RUNS))
        tenth = statistics.median(_resident(_BARE + _CONNECTED + _CALLING, address) for _ in range(RUNS))
        seconds = statistics.median(_seconds(address) for _ in range(RUNS))
        for other in others:
            other.communicate()
    added = (tenth - bare) / 1e6
    return [
        Row("memory of the 10th client", "at most 8 MB above numpy", f"{added:.1f} MB", added <= 8),
        Row("import and connect, with numpy there", "at most 50 ms", f"{seconds * 1e3:.0f} ms", seconds <= 0.05),
    ]


def _spawn(program: str, address: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, address],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ},
    )  # fmt: skip


def _resident(program: str, address: str) -> int:
    out, error = _spawn(program + _MEASURE, address).communicate()
    assert out.strip() == "0", out + error
    return int(error)


def _seconds(address: str) -> float:
    out, error = _spawn(_TIMED.format(_BARE, _CONNECTED), address).communicate()
    assert out, error
    return float(out)
