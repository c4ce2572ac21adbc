"""Which jobs run next: decided from what waits and from `now`, with no thread and no clock.

    offer(job, now)   takes it in, or says after how many seconds to try again
    take(now)         the next batch, or when to ask again
    reap(now)         what expired or was cancelled, for whoever asks to fail: it is never in a batch

A batch begins with the highest priority; within that, with the client that has been served the fewest
rows; of that client, with the oldest job. A priority that was passed over 16 times while it had work gets
a batch all the same. The batch is then filled, in the same order, with what may run beside its first job.
One client's jobs of one priority that may be batched together never overtake one another.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable
from typing import Final, Generic, Literal

from .batch import Batch, Room
from .group import PATIENCE, Entry, Group, J, Level, Line, Shelf
from .job import HIGHEST, LOWEST
from .ordered import Ordered
from .pace import Pace
from .places import Places
from .settings import Scheduling

Why = Literal["expired", "cancelled"]
_ALONE: Final = ("alone",)


class Policy(Generic[J]):
    """The jobs of one model that wait. Not thread-safe."""

    def __init__(self, settings: Scheduling) -> None:
        self.settings = settings
        self.pace = Pace()
        self.waiting: dict[J, Entry[J]] = {}  # all jobs; for others to read
        self._places = Places(settings.queue)
        self._groups: dict[Hashable, Group[J]] = {}
        self._levels: dict[int, Level[J]] = {}
        self._due: Ordered[Entry[J]] = Ordered()
        self._deadlines: Ordered[Entry[J]] = Ordered()
        self._dead: list[tuple[J, Why]] = []
        self._number = 0
        self._hurried = False

    def __len__(self) -> int:
        return len(self.waiting)

    def offer(self, job: J, now: float) -> float | None:
        """Take a job in. A number is a refusal: so many seconds later there may be room.

        Raises ValueError for a job that waits already.
        """
        if job in self.waiting:
            raise ValueError("this job waits already")
        if not self._places.free_for(job.client):
            self._expire(now)
            if not self._places.free_for(job.client):
                return self.pace.until_room(len(self.waiting), self.settings.lanes)
        self._number += 1
        self._places.take(job.client)
        line = self._line(job)
        entry = self.waiting[job] = Entry(job, self._number, now, line)
        self._shelve(entry, now)
        return None

    def take(self, now: float) -> Batch[J]:
        """What is to run now."""
        if not self.waiting:
            return Batch([], 0.0, None)
        self._refresh(now)
        while (shelf := self._choose()) is not None:
            if entries := self._gather(shelf):
                self._count(shelf.level)
                return Batch([entry.job for entry in entries], sum([now - entry.arrived for entry in entries]), None)
        return Batch([], 0.0, (self._due.first() or (None,))[0])

    def ready(self, now: float) -> bool:
        """Whether `take` would look for a batch now, rather than wait."""
        self._refresh(now)
        return any(level.best() is not None for level in self._levels.values())

    def withdraw(self, job: J) -> bool:
        """Take a job out again; whether it was still waiting."""
        entry = self.waiting.get(job)
        if entry is not None:
            self._remove(entry)
        return entry is not None

    def reap(self, now: float) -> list[tuple[J, Why]]:
        """What has expired or been cancelled since the last time, out of the queue already."""
        self._expire(now)
        dead, self._dead = self._dead, []
        return dead

    def hurry(self) -> None:
        """No more jobs will come: from now on none waits for others."""
        self._hurried = True
        for group in self._groups.values():
            group.hurried = True
            self._offer_shelves(group)

    # -- in ------------------------------------------------------------------------------------------

    def _line(self, job: J) -> Line[J]:
        """The line that a job belongs in, made if there is none."""
        priority = max(LOWEST, min(HIGHEST, job.priority)) if self.settings.priorities else 0
        level = self._levels.get(priority)
        if level is None:
            level = self._levels[priority] = Level(priority)
        group = self._group(job)
        shelf = group.shelves.get(priority)
        if shelf is None:
            shelf = group.shelves[priority] = Shelf(group, level)
        account = level.accounts.join(job.client)
        return shelf.lines.get(job.client) or Line(shelf, account)

    def _group(self, job: J) -> Group[J]:
        alone = job.key is None or self.settings.max_batch == 1
        key = _ALONE if alone else (job.key, bisect_left(self.settings.buckets, job.length))
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(key, self.settings, hurried=alone or self._hurried)
        return group

    def _shelve(self, entry: Entry[J], now: float) -> None:
        line = entry.line
        shelf, group, job = line.shelf, line.shelf.group, entry.job
        group.rows += entry.rows
        group.tokens += entry.tokens
        shelf.add(entry, line)
        if job.deadline is not None:
            self._deadlines.put(entry, job.deadline)
        due = self._due_of(entry)
        if due <= now:
            self._ripen(entry)
        else:
            self._due.put(entry, due)
            if group.ready:
                self._offer_shelves(group)

    def _due_of(self, entry: Entry[J]) -> float:
        """When it has waited for others long enough: at once if its deadline would not bear the wait."""
        due, deadline = entry.arrived + self.settings.max_wait, entry.job.deadline
        hasty = deadline is not None and deadline < due + self.pace.run
        return entry.arrived if hasty or entry.line.shelf.group.key == _ALONE else due

    # -- time ----------------------------------------------------------------------------------------

    def _refresh(self, now: float) -> None:
        self._expire(now)
        while (due := self._due.first()) is not None and due[0] <= now:
            self._due.discard(due[1])
            self._ripen(due[1])

    def _expire(self, now: float) -> None:
        while (found := self._deadlines.first()) is not None and found[0] <= now:
            self._bury(found[1], "expired")

    def _ripen(self, entry: Entry[J]) -> None:
        entry.ripe = True
        group = entry.line.shelf.group
        group.ripe += 1
        self._offer_shelves(group)

    def _offer_shelves(self, group: Group[J]) -> None:
        """It is ready, or something new came first in it."""
        for shelf in group.shelves.values():
            rank = shelf.rank()
            if rank is not None:
                shelf.level.shelves.put(shelf, rank)

    # -- out -----------------------------------------------------------------------------------------

    def _choose(self) -> Shelf[J] | None:
        """The shelf that the next batch begins with."""
        able = [(level, shelf) for level in self._levels.values() if (shelf := level.best()) is not None]
        overdue = [pair for pair in able if pair[0].passed >= PATIENCE]
        if overdue:
            return max(overdue, key=lambda pair: pair[0].passed)[1]
        return max(able, key=lambda pair: pair[0].priority)[1] if able else None

    def _count(self, served: Level[J]) -> None:
        """A batch went to this level: how long others have been passed over."""
        for level in self._levels.values():
            if level is served:
                level.passed = 0
            elif level.best() is not None:
                level.passed += 1

    def _gather(self, first: Shelf[J]) -> list[Entry[J]]:
        """A batch that begins with the best of a shelf; empty if that was cancelled."""
        taken: list[Entry[J]] = []
        line, group = first.best(), first.group
        if line is not None and line.head.job.cancelled:
            self._bury(line.head, "cancelled")
            return taken
        room = self._fill(first, taken, Room(0, 0), most=1)
        if group.key != _ALONE:
            for priority in sorted(group.shelves, reverse=True):
                room = self._fill(group.shelves[priority], taken, room, most=self.settings.max_batch)
        return taken

    def _fill(self, shelf: Shelf[J], taken: list[Entry[J]], room: Room, most: int) -> Room:
        """Add jobs of a shelf to a batch, as many as fit, up to so many jobs in all."""
        aside: list[Line[J]] = []
        while len(taken) < most and room.rows < self.settings.max_batch and (line := shelf.best()) is not None:
            entry = line.head
            after = room.plus(entry.job)
            if entry.job.cancelled:
                self._bury(entry, "cancelled")
            elif taken and not after.within(self.settings):
                shelf.set_aside(line)
                aside.append(line)
            else:
                shelf.level.accounts.charge(line.account, entry.rows)
                self._remove(entry)
                taken.append(entry)
                room = after
        for line in aside:
            shelf.put_back(line)
        return room

    def _bury(self, entry: Entry[J], why: Why) -> None:
        self._remove(entry)
        self._dead.append((entry.job, why))

    def _remove(self, entry: Entry[J]) -> None:
        shelf, account = entry.line.shelf, entry.line.account
        group, level = shelf.group, shelf.level
        del self.waiting[entry.job]
        self._places.give_back(account.client)
        self._due.discard(entry)
        self._deadlines.discard(entry)
        group.rows -= entry.rows
        group.tokens -= entry.tokens
        group.ripe -= entry.ripe
        shelf.remove(entry)
        if not shelf.lines:
            level.shelves.discard(shelf)
            del group.shelves[level.priority]
            if not group.shelves:
                del self._groups[group.key]
        level.accounts.leave(account)
        if not level.accounts.waiting:
            level.passed = 0
        if not self.waiting:
            self._levels.clear()  # nobody waits: nobody is owed anything
