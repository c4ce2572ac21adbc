"""What this process takes of the machine."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

from ..machine.own import own_memory


def own_numbers() -> dict[str, Any]:
    """As plain data: memory in bytes (see `machine.own`), processor time in seconds, and of threads those that
    the kernel counts, the native ones of libraries included. ``at`` is when, on the monotonic clock.
    """
    memory = own_memory()
    times = os.times()
    return {
        "memory": memory.rss,
        "pss": memory.pss,
        "peak": memory.peak,
        "cpu": times.user + times.system,
        "at": time.monotonic(),
        "descriptors": _entries("/proc/self/fd") - 1,  # less the one it is looked up with
        "threads": _entries("/proc/self/task") or threading.active_count(),
    }


def _entries(folder: str) -> int:
    try:
        return len(os.listdir(folder))
    except OSError:  # no descriptors left to look with
        return 0
