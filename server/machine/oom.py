"""What the kernel counts of memory that ran out: of the control group, and of the machine."""

from __future__ import annotations

from typing import NamedTuple

from . import files
from .cgroup import groups


class Kills(NamedTuple):
    """Processes killed for memory since boot; what can't be read is 0."""

    cgroup: int = 0
    machine: int = 0


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
