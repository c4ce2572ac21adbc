"""A process's own memory: how much it is, and giving back what it does not need."""

from __future__ import annotations

from typing import NamedTuple

from sharedmodel.heap import trim

from . import files


class Own(NamedTuple):
    """Bytes. ``pss`` divides pages by how many processes map them, ``rss`` counts them whole, shared tensors
    included; ``peak`` is the most that ``rss`` ever was."""

    rss: int
    pss: int
    peak: int


def own_memory(pid: int | None = None, root: str = "/") -> Own:
    """The memory of a process (None: this one). It walks the page tables: some ms for a process of 10 GB.

    Zeros where the process is gone; ``pss`` is ``rss`` where the kernel doesn't tell (another user's process).
    """
    folder = f"proc/{pid or 'self'}"
    status = files.fields(root, folder, "status")
    exact = files.fields(root, folder, "smaps_rollup")
    rss = exact.get("Rss", status.get("VmRSS", 0))  # the status has sums that lag behind by some pages a processor
    return Own(rss, exact.get("Pss", rss), max(rss, status.get("VmHWM", 0)))


def returned_memory() -> int:
    """Trim, and say by how many bytes this process became smaller."""
    before = own_memory().rss
    return max(0, before - own_memory().rss) if trim() else 0
