"""A batch, and what still fits into one that is being filled."""

from __future__ import annotations

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
