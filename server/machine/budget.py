"""How many bytes the server may use, who says so, and how many of them are used. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

from .memory import Memory

CONFIGURED: Final = "configuration"
CGROUP: Final = "cgroup"
MACHINE: Final = "machine"
_PART: Final = 10  # where nobody else says: nine tenths of the machine


class Budget(NamedTuple):
    """``source``: who set it. ``spare``: bytes of the room there is that are to be left alone."""

    bytes: int
    source: str
    spare: int = 0

    def in_use(self, memory: Memory, own: int = 0) -> int:
        """What is gone of the budget. ``own``: the sum of what the server's processes take (PSS).

        What others took of the room counts as well: it can't be had, whoever has it.
        """
        return max(0, own, self.bytes - max(0, memory.room - self.spare))


def budget(memory: Memory, configured: int | None = None) -> Budget:
    """The configured one, else the tightest limit of a control group, else nine tenths of the machine's memory.

    One that is configured larger than what there is changes nothing about that: what others hold of it
    counts as in use.
    """
    if configured is not None:
        return Budget(configured, CONFIGURED)
    if memory.limit is not None:
        return Budget(memory.limit, CGROUP)
    spare = memory.total // _PART
    return Budget(memory.total - spare, MACHINE, spare)
