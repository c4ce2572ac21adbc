"""What this process takes of the machine."""

from __future__ import annotations

import os
import resource
import threading
import time
from typing import Any

from ..machine.own import own_memory


def own_numbers() -> dict[str, Any]:
    """As plain data: memory in bytes (see `machine.own`), processor time in seconds, and of threads those that
    the kernel counts, the native ones of libraries included. ``at`` is when, on the monotonic clock.

    Where no descriptor is left to look with, memory is left out, and as many are open as may be.
    """
    memory = own_memory()
    times = os.times()
    descriptors = _entries("/proc/self/fd")
    return {
        **({"memory": memory.rss, "pss": memory.pss, "peak": memory.peak} if memory.rss else {}),
        "cpu": times.user + times.system,
        "at": time.monotonic(),
        # Less the one that they are looked up with.
        "descriptors": descriptors - 1 if descriptors else resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "threads": _entries("/proc/self/task") or threading.active_count(),
    }


def _entries(folder: str) -> int:
    try:
        return len(os.listdir(folder))
    except OSError:  # no descriptors left to look with
        return 0
