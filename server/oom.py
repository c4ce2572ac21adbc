"""The kernel's counts of processes it killed for memory: the cgroup's own, and the machine's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final, NamedTuple

_ROOT: Final = "/sys/fs/cgroup"


class Kills(NamedTuple):
    """Counts since boot; one that can't be read is 0."""

    cgroup: int = 0
    machine: int = 0


def kills() -> Kills:
    """The counts now."""
    cgroup = 0
    for folder in cgroup_folders():
        for name in ("memory.events", "memory.oom_control"):
            cgroup = cgroup or _count(os.path.join(folder, name))
    return Kills(cgroup, _count("/proc/vmstat"))


def memory_limit() -> int | None:
    """The cgroup's limit in bytes; None where there is none."""
    for folder in cgroup_folders():
        for name in ("memory.max", "memory.limit_in_bytes"):
            try:
                with open(os.path.join(folder, name)) as file:
                    text = file.read().strip()
            except OSError:
                continue
            # Version 1 says "no limit" as a number near 2**63.
            if text.isdecimal() and int(text) < 1 << 60:
                return int(text)
    return None


def cgroup_folders() -> Iterator[str]:
    """Where this process's memory controller may be seen: its own group first, else what is mounted."""
    try:
        with open("/proc/self/cgroup") as file:
            lines = [line.strip().split(":", 2) for line in file]
    except OSError:
        lines = []
    for _, controllers, path in lines:
        if controllers == "":
            yield f"{_ROOT}{path}"
        elif "memory" in controllers.split(","):
            yield f"{_ROOT}/memory{path}"
    yield f"{_ROOT}/memory"
    yield _ROOT


def _count(path: str) -> int:
    try:
        with open(path) as file:
            for line in file:
                name, _, value = line.partition(" ")
                if name == "oom_kill":
                    return int(value)
    except (OSError, ValueError):
        pass
    return 0
