"""A batch, and what still fits into one that is being filled."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

from .job import Asked
from .settings import Scheduling

J = TypeVar("J", bound=Asked)


class Batch(NamedTuple, Generic[J]):
    """Jobs to run now; if there are none, when to ask again (None: nothing waits).

    ``waited``: how many seconds its jobs waited, together.
    """

    jobs: list[J]
    waited: float
    again: float | None


class Room(NamedTuple):
    """What a batch has in it, and what may still come in."""

    rows: int
    longest: int

    def plus(self, job: Asked) -> Room:
        return Room(self.rows + max(1, job.rows), max(self.longest, job.length, 1))

    def within(self, settings: Scheduling) -> bool:
        budget = settings.token_budget
        return self.rows <= settings.max_batch and (budget is None or self.rows * self.longest <= budget)


def fit(jobs: Sequence[Asked], settings: Scheduling) -> bool:
    """Whether several jobs may run together, and all of them fit into one batch."""
    key = jobs[0].key
    if key is None:
        return False
    rows, lengths = 0, []
    for job in jobs:
        if job.key != key:
            return False
        rows += max(1, job.rows)
        lengths.append(job.length)
    longest, buckets = max(lengths), settings.buckets
    alike = not buckets or bisect_left(buckets, longest) == bisect_left(buckets, min(lengths))
    return alike and Room(rows, max(1, longest)).within(settings)
