"""What a process may have besides memory and processors: descriptors, processes, /dev/shm."""

from __future__ import annotations

import os
import re
from typing import Final, NamedTuple

from . import files
from .cgroup import groups

_ROW: Final = re.compile(r"^Max (.+?) {2,}(\d+|unlimited) +(\d+|unlimited)", re.MULTILINE)


class Limit(NamedTuple):
    """A ulimit; None is unlimited."""

    soft: int | None = None
    hard: int | None = None


class Limits(NamedTuple):
    """files: RLIMIT_NOFILE. processes: RLIMIT_NPROC, threads included, of all the user's. tasks: pids.max,
    threads included, of the tightest group. address_space: RLIMIT_AS, bytes."""

    files: Limit
    processes: Limit
    address_space: Limit
    tasks: int | None = None


class Space(NamedTuple):
    """A file system's size and what is free of it, in bytes."""

    size: int
    free: int


def limits(root: str = "/") -> Limits:
    """The limits of this process."""
    found = _ROW.findall(files.read(root, "proc/self/limits") or "")
    rows = {name: Limit(_value(soft), _value(hard)) for name, soft, hard in found}
    files_, processes, space = (rows.get(name, Limit()) for name in ("open files", "processes", "address space"))
    tasks = [most for group in groups("pids", root) if (most := group.number("pids.max")) is not None]
    return Limits(files_, processes, space, min(tasks, default=None))


def shared_memory(root: str = "/") -> Space | None:
    """/dev/shm; None where there is none."""
    try:
        found = os.statvfs(os.path.join(root, "dev/shm"))
    except OSError:
        return None
    return Space(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize)


def _value(text: str) -> int | None:
    return int(text) if text.isdecimal() else None
