"""What processes really take: their proportional share of memory, so that shared pages count once."""

from __future__ import annotations

from collections.abc import Iterable


def proportional(pids: Iterable[int]) -> int:
    """The sum of PSS in bytes (proc(5), smaps_rollup): each shared page divided by its users."""
    return sum(_pss(pid) for pid in pids)


def _pss(pid: int) -> int:
    with open(f"/proc/{pid}/smaps_rollup") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
