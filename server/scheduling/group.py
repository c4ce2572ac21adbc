"""Jobs that wait, sorted so that the next one is found at once.

    Level   one priority             its shelves in order of their best line
     └ Shelf   of one group          its lines in order of how far their clients have been served
        └ Line    of one client      its jobs in order of arrival
    Group   jobs that may be batched: equal keys and lengths of one bucket; it has a shelf on each level

Ranks only grow while a thing stays where it is (jobs leave, clients are served elsewhere), so an
`Ordered` may keep a rank that is out of date: it is looked at again when it comes first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

from .fairness import Account, Accounts
from .job import Asked
from .ordered import Ordered
from .settings import Scheduling

J = TypeVar("J", bound=Asked)
Rank = tuple[int, int]  # rows served to the client before, number of the job

PATIENCE: Final = 16  # batches that may pass over a level with work before it gets one itself


class Entry(Generic[J]):
    """One job that waits. ``ripe``: it has waited for others long enough."""

    __slots__ = ("arrived", "job", "line", "number", "ripe", "rows", "tokens")

    def __init__(self, job: J, number: int, arrived: float, line: Line[J]) -> None:
        self.job = job
        self.number = number
        self.arrived = arrived
        self.line = line
        self.rows = max(1, job.rows)
        self.tokens = self.rows * max(1, job.length)
        self.ripe = False


class Line(Generic[J]):
    """One client's jobs on one shelf."""

    __slots__ = ("account", "entries", "shelf")

    def __init__(self, shelf: Shelf[J], account: Account) -> None:
        self.shelf = shelf
        self.account = account
        self.entries: OrderedDict[int, Entry[J]] = OrderedDict()

    @property
    def head(self) -> Entry[J]:
        return next(iter(self.entries.values()))

    @property
    def rank(self) -> Rank:
        return self.account.served, next(iter(self.entries))


class Shelf(Generic[J]):
    """A group's jobs of one priority."""

    __slots__ = ("_order", "group", "level", "lines")

    def __init__(self, group: Group[J], level: Level[J]) -> None:
        self.group = group
        self.level = level
        self.lines: dict[Hashable, Line[J]] = {}
        self._order: Ordered[Line[J]] = Ordered()

    def best(self) -> Line[J] | None:
        """The line whose turn it is."""
        return self._order.settled(lambda line: line.rank)

    def rank(self) -> Rank | None:
        """That of its best line; None while it is not to be served."""
        line = self.best() if self.group.ready else None
        return line.rank if line is not None else None

    def add(self, entry: Entry[J], line: Line[J]) -> None:
        line.entries[entry.number] = entry
        if len(line.entries) == 1:
            self.lines[line.account.client] = line
            self._order.put(line, line.rank)

    def remove(self, entry: Entry[J]) -> None:
        line = entry.line
        del line.entries[entry.number]
        if not line.entries:
            self._order.discard(line)
            del self.lines[line.account.client]

    def set_aside(self, line: Line[J]) -> None:
        """Not to be the best until it is put back: what it has next does not fit."""
        self._order.discard(line)

    def put_back(self, line: Line[J]) -> None:
        self._order.put(line, line.rank)


class Group(Generic[J]):
    """Jobs that may run together."""

    __slots__ = ("hurried", "key", "ripe", "rows", "settings", "shelves", "tokens")

    def __init__(self, key: Hashable, settings: Scheduling, *, hurried: bool) -> None:
        self.key = key
        self.settings = settings
        self.hurried = hurried
        self.shelves: dict[int, Shelf[J]] = {}
        self.rows = 0
        self.tokens = 0
        self.ripe = 0

    @property
    def ready(self) -> bool:
        """Whether there is nothing to wait for."""
        budget = self.settings.token_budget
        full = self.rows >= self.settings.max_batch or (budget is not None and self.tokens >= budget)
        return self.ripe > 0 or full or self.hurried


class Level(Generic[J]):
    """All jobs of one priority. ``passed``: batches that went to others while it had work."""

    __slots__ = ("accounts", "passed", "priority", "shelves")

    def __init__(self, priority: int) -> None:
        self.priority = priority
        self.passed = 0
        self.accounts = Accounts()
        self.shelves: Ordered[Shelf[J]] = Ordered()

    def best(self) -> Shelf[J] | None:
        """The shelf to serve next, of the groups that are ready."""
        return self.shelves.settled(lambda shelf: shelf.rank())
