"""The scheduler's policy: no job lost or served twice, no bound passed, whatever comes in whatever order."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sharedmodel.server.scheduling.lobby import Lobby
from sharedmodel.server.scheduling.places import SHARE
from sharedmodel.server.scheduling.policy import Policy
from sharedmodel.server.scheduling.settings import Scheduling

from .jobs import FakeJob

schedulings = st.builds(
    Scheduling,
    max_batch=st.integers(2, 8),
    max_wait=st.sampled_from([0.0, 0.5, 3.0]),
    token_budget=st.none() | st.integers(1, 100),
    buckets=st.sampled_from([(), (4,), (2, 8, 16)]),
    queue=st.integers(1, 24),
    priorities=st.booleans(),
) | st.builds(Scheduling, queue=st.integers(1, 24), priorities=st.booleans())


class PolicyMachine(RuleBasedStateMachine):
    """A policy beside the plain list of what waits, in order of arrival."""

    made: Callable[[Scheduling], Any] = Policy

    @initialize(scheduling=schedulings)
    def begin(self, scheduling: Scheduling) -> None:
        self.settings = scheduling
        self.policy = self.made(scheduling)
        self.now = 1.0
        self.hurried = False
        self.waiting: dict[FakeJob, float] = {}

    @rule(
        client=st.sampled_from("abc"),
        key=st.sampled_from([None, "k", "l"]),
        rows=st.integers(0, 10),
        length=st.integers(0, 20),
        priority=st.integers(-4, 4),
        patience=st.none() | st.sampled_from([0.0, 0.4, 2.0, 9.0]),
    )
    def offer(
        self, client: str, key: str | None, rows: int, length: int, priority: int, patience: float | None
    ) -> None:
        deadline = None if patience is None else self.now + patience
        job = FakeJob(client, key, rows, length, priority, deadline)
        live = [job for job in self.waiting if not self.expired(job)]
        refused = self.policy.offer(job, self.now)
        if refused is None:
            assert len(live) < self.settings.queue
            self.waiting[job] = self.now
        else:
            places = self.settings.queue - len(live)
            assert refused > 0
            assert not places or sum(other.client == client for other in live) >= SHARE * places

    @rule(seconds=st.sampled_from([0.1, 0.4, 1.0, 5.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(pick=st.integers(0, 100))
    def cancel(self, pick: int) -> None:
        if self.waiting:
            list(self.waiting)[pick % len(self.waiting)].cancelled = True

    @rule(pick=st.integers(0, 100))
    def withdraw(self, pick: int) -> None:
        if self.waiting:
            job = list(self.waiting)[pick % len(self.waiting)]
            withdrawn = self.policy.withdraw(job)
            assert withdrawn or self.expired(job) or job.cancelled
            if withdrawn:
                del self.waiting[job]
        assert not self.policy.withdraw(FakeJob())

    @rule()
    def reap(self) -> None:
        for job, why in self.policy.reap(self.now):
            del self.waiting[job]
            assert self.expired(job) if why == "expired" else job.cancelled
        assert not any(self.expired(job) for job in self.waiting)

    @rule()
    def take(self) -> None:
        self.check(self.policy.take(self.now))
        self.reap()  # as the lanes do; a cancelled job has left the queue by then

    @rule()
    def take_all(self) -> None:
        self.policy.hurry()
        self.hurried = True
        while self.waiting:
            self.check(self.policy.take(self.now))
            self.reap()
        assert not len(self.policy)
        for emptied in ("waiting", "_places", "_groups", "_levels", "_due", "_deadlines"):
            assert not len(getattr(getattr(self.policy, "policy", self.policy), emptied)), emptied
        self.policy = self.made(self.settings)
        self.hurried = False

    @invariant()
    def it_knows_how_many_wait(self) -> None:
        if hasattr(self, "waiting"):
            assert len(self.policy) <= min(len(self.waiting), self.settings.queue)

    def check(self, batch: Any) -> None:
        jobs = batch.jobs
        if not jobs:
            self.check_that_nothing_is_due(batch.again)
            return
        assert not any(job.cancelled or self.expired(job) for job in jobs)
        if len(jobs) > 1:
            assert len({self.kind(job) for job in jobs}) == 1 and jobs[0].key is not None
            rows = sum(max(1, job.rows) for job in jobs)
            assert rows <= self.settings.max_batch
            budget = self.settings.token_budget
            assert budget is None or rows * max(1, *(job.length for job in jobs)) <= budget
        assert batch.waited == pytest.approx(sum(self.now - self.waiting[job] for job in jobs))
        self.check_that_it_had_no_longer_to_wait(self.kind(jobs[0]))
        for job in jobs:
            older = next(other for other in self.waiting if self.turn(other) == self.turn(job) and not self.dead(other))
            assert older is job
            del self.waiting[job]

    def check_that_it_had_no_longer_to_wait(self, kind: Any) -> None:
        jobs = [job for job in self.waiting if self.kind(job) == kind and not self.expired(job)]
        budget, wait = self.settings.token_budget, self.settings.max_wait
        full = sum(max(1, job.rows) for job in jobs) >= self.settings.max_batch
        tokens = sum(max(1, job.rows) * max(1, job.length) for job in jobs)
        ripe = any(
            self.waiting[job] + wait <= self.now or (job.deadline or self.now + 99) < self.waiting[job] + wait
            for job in jobs
        )
        assert kind is None or self.hurried or full or ripe or (budget is not None and tokens >= budget)

    def check_that_nothing_is_due(self, again: float | None) -> None:
        live = [job for job in self.waiting if not self.dead(job)]
        if again is None:
            assert not live
            return
        assert self.now < again <= self.now + self.settings.max_wait
        assert all(job.key is not None for job in live)
        assert all(self.now < self.waiting[job] + self.settings.max_wait for job in live)
        for kind in {self.kind(job) for job in live}:
            assert sum(max(1, job.rows) for job in live if self.kind(job) == kind) < self.settings.max_batch

    def expired(self, job: FakeJob) -> bool:
        return job.deadline is not None and job.deadline <= self.now

    def dead(self, job: FakeJob) -> bool:
        return job.cancelled or self.expired(job)

    def kind(self, job: FakeJob) -> Any:
        alone = job.key is None or self.settings.max_batch == 1
        return None if alone else (job.key, bisect_left(self.settings.buckets, job.length))

    def turn(self, job: FakeJob) -> Any:
        priority = max(-2, min(2, job.priority)) if self.settings.priorities else 0
        return job.client, priority, self.kind(job)


class LobbyMachine(PolicyMachine):
    """The same of a policy with a lobby before it."""

    made = Lobby


for machine in (PolicyMachine, LobbyMachine):
    machine.TestCase.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
TestNoJobIsLostAndNoBoundIsPassed = PolicyMachine.TestCase
TestNorIsThatSoWithALobbyBeforeIt = LobbyMachine.TestCase
