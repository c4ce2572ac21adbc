"""An hour of a model's traffic in about a second: an event queue in place of clock and threads."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sharedmodel.server.scheduling.lobby import Lobby
from sharedmodel.server.scheduling.settings import Scheduling

from .jobs import FakeJob

Event = Callable[[], Any]


@dataclass(eq=False)
class Traffic:
    """One model's policy, its lanes, and what became of every job. A run takes ``cost(jobs)`` seconds."""

    settings: Scheduling
    cost: Callable[[list[FakeJob]], float]
    seed: int = 1
    now: float = 0.0
    ends: dict[FakeJob, list[str]] = field(default_factory=dict)
    waits: dict[Any, list[float]] = field(default_factory=dict)
    sizes: list[int] = field(default_factory=list)
    busy: float = 0.0
    idle_with_work: float = 0.0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.policy: Lobby[FakeJob] = Lobby(self.settings)
        self._events: list[tuple[float, int, Event]] = []
        self._numbers = itertools.count()
        self._free = self.settings.lanes
        self._arrived: dict[FakeJob, float] = {}
        self._since = 0.0
        self._wake = float("inf")

    def at(self, when: float, event: Event) -> None:
        heapq.heappush(self._events, (when, next(self._numbers), event))

    def poisson(self, rate: float, until: float, make: Callable[[], FakeJob]) -> None:
        """Jobs that come at random, so many a second."""
        self._every(self._gaps(rate), until, lambda: self.offer(make()))

    def bursts(self, every: float, size: int, until: float, make: Callable[[], FakeJob]) -> None:
        """Many jobs at one moment, again and again."""
        self._every(itertools.repeat(every), until, lambda: [self.offer(make()) for _ in range(size)])

    def _gaps(self, rate: float) -> Iterator[float]:
        while True:
            yield self.random.expovariate(rate)

    def _every(self, gaps: Iterator[float], until: float, event: Event) -> None:
        def again() -> None:
            event()
            follow()

        def follow() -> None:
            when = self.now + next(gaps)
            if when < until:
                self.at(when, again)

        follow()

    def offer(self, job: FakeJob) -> None:
        self.ends[job] = []
        if self.policy.offer(job, self.now) is None:
            self._arrived[job] = self.now
        else:
            self.ends[job].append("refused")

    def run(self) -> None:
        """Until nothing is left to happen."""
        while self._events:
            when, _, event = heapq.heappop(self._events)
            if self._free and self.policy.ready(self.now):
                self.idle_with_work += when - self.now
            self.now = when
            event()
            self._serve()

    def _serve(self) -> None:
        while self._free:
            batch = self.policy.take(self.now)
            self._reap()
            if not batch.jobs:
                if batch.again is not None and not self.now < self._wake <= batch.again:
                    self._wake = batch.again
                    self.at(batch.again, lambda: None)
                return
            self._begin(batch.jobs)

    def _begin(self, jobs: list[FakeJob]) -> None:
        took = self.cost(jobs)
        self._free -= 1
        self.busy += took
        self.sizes.append(len(jobs))
        for job in jobs:
            self.waits.setdefault(job.client, []).append(self.now - self._arrived.pop(job))
        self.at(self.now + took, lambda: self._end(jobs, took))

    def _end(self, jobs: list[FakeJob], took: float) -> None:
        self._free += 1
        self.policy.pace.note(len(jobs), took)
        for job in jobs:
            self.ends[job].append("served")

    def _reap(self) -> None:
        for job, why in self.policy.reap(self.now):
            self.ends[job].append(why)
