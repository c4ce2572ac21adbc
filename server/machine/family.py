"""A process and all that descend from it: a supervisor, its hosts, and what they start."""

from __future__ import annotations

import os
from collections.abc import Iterator

from . import files
from .own import own_memory


def family(pid: int, root: str = "/") -> list[int]:
    """The processes, itself first. Of one that ends meanwhile there may be nothing any more."""
    found = [pid]
    for member in found:
        found += _children(member, root)
    return found


def shares(pid: int, root: str = "/") -> int:
    """Bytes that they take in all: the sum of their PSS, so that what they share counts once."""
    return sum(own_memory(member, root).pss for member in family(pid, root))


def at_most(pid: int, root: str = "/") -> int:
    """The sum of their RSS: never less than `shares`, and had at a thousandth of its price."""
    page = os.sysconf("SC_PAGE_SIZE")
    texts = (files.read(root, f"proc/{member}/statm") for member in family(pid, root))
    return sum(int(text.split()[1]) * page for text in texts if text)


def _children(pid: int, root: str) -> Iterator[int]:
    tasks = os.path.join(root, f"proc/{pid}/task")
    try:
        names = os.listdir(tasks)
    except OSError:
        return
    for task in names:
        yield from map(int, (files.read(tasks, task, "children") or "").split())
