"""What the kernel counts of memory that ran out: of the control group, and of the machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, NamedTuple

from . import files
from .cgroup import groups


class Kills(NamedTuple):
    """Processes killed for memory since boot; what can't be read is 0."""

    cgroup: int = 0
    machine: int = 0


RECENT: Final = 2.0  # seconds; a kill longer ago than twice that was another process's
# Of the machine's memory: the kernel kills the largest, and has other reasons to kill than a process so small.
_SUSPECT: Final = 0.01


class Recent:
    """What was killed a moment ago. The counts are of all processes, since boot; it has to be asked all the time."""

    def __init__(
        self, read: Callable[[], Kills] | None = None, total: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``total``: the machine's memory in bytes."""
        self._read = read or kills
        self._least = total * _SUSPECT
        self._before = self._last = self._read()
        self.due = clock() + RECENT

    def expire(self, now: float) -> None:
        """Look again, when that is due."""
        if now >= self.due:
            self._before, self._last = self._last, self._read()
            self.due = now + RECENT

    def kills(self, peak: int) -> Kills:
        """What was killed a moment ago that may have been a process whose memory had reached ``peak`` bytes."""
        now = self._read()
        machine = now.machine - self._before.machine if peak >= self._least else 0
        return Kills(now.cgroup - self._before.cgroup, machine)


class Events(NamedTuple):
    """How often the own group was slowed down at `high`, hit `max`, found nothing to reclaim, lost a process."""

    high: int = 0
    max: int = 0
    oom: int = 0
    oom_kill: int = 0


def kills(root: str = "/") -> Kills:
    """The counts now. A death counts in the group of the process that died: our own group, for our hosts."""
    return Kills(events(root).oom_kill, files.fields(root, "proc/vmstat").get("oom_kill", 0))


def events(root: str = "/") -> Events:
    """The counts of the own group, or of the nearest one above that has them."""
    for group in groups("memory", root):
        if group.version == 2:
            found = group.fields("memory.events")
        elif found := group.fields("memory.oom_control"):
            found["max"] = group.number("memory.failcnt") or 0
        if found:
            return Events(*(found.get(name, 0) for name in Events._fields))
    return Events()


def kills_all(root: str = "/") -> bool:
    """Whether one process too large takes its whole group along: memory.oom.group, here or anywhere above."""
    return any(group.number("memory.oom.group") == 1 for group in groups("memory", root))
