"""Jobs that are all in the next batch, whoever takes it: nothing is to be decided, and so nothing is sorted.

    lobby    jobs of equal keys and one bucket, that fit into one batch together
    policy   all of them, from the first on that changes this, until none waits

A job costs the host a sixth here of what it costs it there, and under the lanes' lock: felt where runs are short.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

from .batch import Batch
from .job import Asked
from .places import SHARE
from .policy import Policy, Why
from .settings import Scheduling

J = TypeVar("J", bound=Asked)
_NEVER: Final = math.inf


class Lobby(Generic[J]):
    """The jobs of one model that wait: to be used as `Policy`, and with the same batches. Not thread-safe."""

    def __init__(self, settings: Scheduling) -> None:
        self.settings = settings
        self.policy: Policy[J] = Policy(settings)
        self.pace = self.policy.pace
        # Whether jobs may wait for others to come is a thing to be decided. So are a queue's last places, of which
        # a single client may have this many while so many are taken.
        batched = settings.max_batch > 1 and not settings.max_wait
        self._most = settings.queue * SHARE // (SHARE + 1) if batched else 0
        self._arrived: dict[J, float] = {}
        self._kind: Hashable = None
        self._rows = 0
        self._longest = 1
        self._earliest = _NEVER  # of their deadlines

    def __len__(self) -> int:
        return len(self._arrived) + len(self.policy)

    def waiting(self) -> list[J]:
        """All jobs."""
        return [*self._arrived, *self.policy.waiting]

    def offer(self, job: J, now: float) -> float | None:
        """See `Policy.offer`."""
        if self._let_in(job, now):
            return None
        if self._arrived:
            self._hand_over()
        return self.policy.offer(job, now)

    def take(self, now: float) -> Batch[J]:
        """See `Policy.take`."""
        arrived = self._arrived
        if self._earliest <= now or any([job.cancelled for job in arrived]):
            self._hand_over()
        if not self._arrived:
            return self.policy.take(now)
        batch = Batch(list(arrived), sum([now - since for since in arrived.values()]), None)
        self._empty()
        return batch

    def ready(self, now: float) -> bool:
        """See `Policy.ready`."""
        if self._earliest <= now:
            self._hand_over()
        return bool(self._arrived) or self.policy.ready(now)

    def withdraw(self, job: J) -> bool:
        """See `Policy.withdraw`."""
        if job in self._arrived:
            self._hand_over()
        return self.policy.withdraw(job)

    def reap(self, now: float) -> list[tuple[J, Why]]:
        """See `Policy.reap`."""
        if self._earliest <= now:
            self._hand_over()
        return self.policy.reap(now)

    def hurry(self) -> None:
        """See `Policy.hurry`."""
        self.policy.hurry()

    def _let_in(self, job: J, now: float) -> bool:
        """Have a job wait here, if it may; whether it does."""
        settings, waiting, key = self.settings, len(self._arrived), job.key
        if waiting >= self._most or key is None or job in self._arrived or self.policy.waiting:
            return False
        kind = key, bisect_left(settings.buckets, job.length)
        hash(key)  # one that can't be, an adapter's mistake, is its own job's and not of the next that comes
        if waiting and kind != self._kind:
            return False
        rows, longest = self._rows + max(1, job.rows), max(self._longest, job.length)
        if rows > settings.max_batch or (settings.token_budget is not None and rows * longest > settings.token_budget):
            return False
        self._arrived[job] = now
        self._kind, self._rows, self._longest = kind, rows, longest
        if job.deadline is not None:
            self._earliest = min(self._earliest, job.deadline)
        return True

    def _hand_over(self) -> None:
        """From now on the policy has them, as if it had had them all along."""
        for job, since in self._arrived.items():
            self.policy.offer(job, since)
        self._empty()

    def _empty(self) -> None:
        self._arrived = {}
        self._rows, self._longest, self._earliest = 0, 1, _NEVER
