"""Who a process is: its pid alone is reused, its pid with its start time is not. And whether it lives."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess


def start_time(pid: int) -> int:
    """When ``pid`` started, in clock ticks since boot (proc(5), field 22). 0 if there is none.

    Raises OSError where that can't be found out (no descriptors left).
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            # The command name may hold spaces and brackets; the fields go on after the last ")".
            fields = stat.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(fields[19]) if fields[0] != b"Z" else 0


def identity(pid: int) -> str:
    """``pid.starttime``: a name for the process that is never used again on this boot."""
    return f"{pid}.{start_time(pid)}"


def is_alive(name: str) -> bool:
    """Whether the process that `identity` named so is still there. False for a malformed name."""
    pid, _, started = name.partition(".")
    if not pid.isdecimal() or not started.isdecimal():
        return False
    try:
        return start_time(int(pid)) == int(started) != 0
    except OSError:
        return True  # as far as is known


def watched(started: subprocess.Popen[bytes]) -> int:
    """A descriptor that tells of a process's end. Where none is to be had (OSError), it is not left behind."""
    try:
        return os.pidfd_open(started.pid)
    except BaseException:
        started.kill()
        started.wait()
        raise


def resident(pid: int | None = None) -> int:
    """Resident memory of a process in bytes, shared pages included."""
    with open(f"/proc/{pid or os.getpid()}/statm", "rb") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
