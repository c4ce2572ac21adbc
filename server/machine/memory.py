"""How much memory there is, may be used, and is in use: of the machine and of each control group."""

from __future__ import annotations

from typing import Final, NamedTuple

from . import files
from .cgroup import Group, groups

_NONE: Final = 1 << 60  # version 1 says "no limit" as a number near 2**63
UNKNOWN: Final = _NONE  # so much that only others' limits count


class Account(NamedTuple):
    """One control group that has a limit. ``reclaimable`` of ``current`` is page cache that would make way."""

    folder: str
    limit: int
    current: int
    reclaimable: int

    @property
    def room(self) -> int:
        return max(0, self.limit - self.current + self.reclaimable)


class Memory(NamedTuple):
    """Bytes: the machine's memory (`UNKNOWN` where it doesn't tell), what of it is available, and the groups whose
    limits count, own first."""

    total: int
    available: int
    accounts: tuple[Account, ...]

    @property
    def limit(self) -> int | None:
        """The tightest limit of a group; None where none is below the machine's memory."""
        lowest = min((account.limit for account in self.accounts), default=self.total)
        return lowest if lowest < self.total else None

    @property
    def room(self) -> int:
        """What may still be taken before the kernel takes offence: the least of machine and groups."""
        return min([self.available, *(account.room for account in self.accounts)])


def memory(root: str = "/") -> Memory:
    """The numbers now. It opens a dozen files: for decisions, not for every call."""
    machine = files.fields(root, "proc/meminfo")
    total = machine.get("MemTotal", UNKNOWN)
    accounts = [account for group in groups("memory", root) if (account := _account(group)) is not None]
    return Memory(total, machine.get("MemAvailable", total), tuple(accounts))


def _account(group: Group) -> Account | None:
    stat = group.fields("memory.stat")
    if group.version == 2:
        # Above memory.high processes are put to sleep until they have given back: a limit in all but name.
        limits = [group.number("memory.max"), group.number("memory.high")]
        current, reclaimable = group.number("memory.current"), stat.get("inactive_file", 0)
    else:
        # The hierarchical limit also knows of groups above that are not mounted here.
        limits = [group.number("memory.limit_in_bytes"), stat.get("hierarchical_memory_limit")]
        current, reclaimable = group.number("memory.usage_in_bytes"), stat.get("total_inactive_file", 0)
    limit = min((limit for limit in limits if limit is not None and limit < _NONE), default=None)
    if limit is None:
        return None
    return Account(group.folder, limit, current or 0, min(reclaimable, current or 0))
