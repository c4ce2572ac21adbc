"""The scheduler's decisions: who is next, with whom, and who waits for what."""

from __future__ import annotations

import weakref
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharedmodel.server.scheduling.batch import fit
from sharedmodel.server.scheduling.group import PATIENCE
from sharedmodel.server.scheduling.policy import Policy
from sharedmodel.server.scheduling.settings import Scheduling

from .jobs import FakeJob


def filled(scheduling: Scheduling, jobs: list[FakeJob], now: float = 0.0) -> Policy[FakeJob]:
    policy: Policy[FakeJob] = Policy(scheduling)
    for job in jobs:
        assert policy.offer(job, now) is None
    return policy


def clients(jobs: list[FakeJob]) -> str:
    return "".join(str(job.client) for job in jobs)


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(st.lists(st.integers(1, 6), min_size=40, max_size=40), min_size=2, max_size=6),
    max_batch=st.integers(1, 8),
    keys=st.integers(1, 3),
)
def test_clients_that_all_have_jobs_waiting_are_served_the_same_number_of_rows(
    rows: list[list[int]], max_batch: int, keys: int
) -> None:
    jobs = [FakeJob(client, at % keys, size) for client, sizes in enumerate(rows) for at, size in enumerate(sizes)]
    policy = filled(Scheduling(max_batch=max_batch), jobs)
    served, left = [0] * len(rows), [len(sizes) for sizes in rows]
    while all(left):
        for job in policy.take(0.0).jobs:
            served[job.client] += job.rows  # type: ignore[call-overload]
            left[job.client] -= 1  # type: ignore[call-overload]
        assert max(served) - min(served) <= 6 + 6 + max_batch


def test_a_quiet_client_is_next_however_much_a_noisy_one_has_waiting() -> None:
    policy = filled(Scheduling(), [FakeJob("n") for _ in range(800)])
    for _ in range(100):
        assert clients(policy.take(0.0).jobs) == "n"
    policy.offer(FakeJob("q"), 1.0)
    policy.offer(FakeJob("q"), 1.0)
    assert "".join(clients(policy.take(1.0).jobs) for _ in range(6)) in ("nqnqnn", "qnqnnn")


def test_nobody_saves_up_turns_by_staying_away_nor_gains_by_leaving_for_a_moment() -> None:
    policy = filled(Scheduling(), [FakeJob("n") for _ in range(500)] + [FakeJob("q", rows=20)])
    seen = "".join(clients(policy.take(0.0).jobs) for _ in range(10))
    assert seen.count("q") == 1
    policy.offer(FakeJob("q"), 0.0)  # its 20 rows are not forgotten
    later = "".join(clients(policy.take(0.0).jobs) for _ in range(40))
    assert 8 <= later.index("q") <= 20 and later.count("q") == 1
    for _ in range(10):
        policy.offer(FakeJob("q"), 0.0)
    assert "qq" not in "".join(clients(policy.take(0.0).jobs) for _ in range(20))


@settings(max_examples=300, deadline=None)
@given(
    shapes=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 40), st.sampled_from("kkkkj")), min_size=2, max_size=6),
    max_batch=st.integers(2, 8),
    token_budget=st.none() | st.integers(1, 120),
    buckets=st.sampled_from([(), (16,), (8, 32)]),
)
def test_jobs_fit_into_one_run_exactly_where_the_queue_would_run_them_as_one(
    shapes: list[tuple[int, int, str]], max_batch: int, token_budget: int | None, buckets: tuple[int, ...]
) -> None:
    scheduling = Scheduling(max_batch=max_batch, token_budget=token_budget, buckets=buckets)
    jobs = [FakeJob(client, key, rows, length) for client, (rows, length, key) in enumerate(shapes)]
    assert fit(jobs, scheduling) == (len(filled(scheduling, jobs).take(0.0).jobs) == len(jobs))


def test_one_client_runs_by_priority_and_then_by_arrival() -> None:
    jobs = [FakeJob(priority=priority, length=at) for at, priority in enumerate([0, 1, 0, 2, 1, 99, -1])]
    policy = filled(Scheduling(priorities=True), jobs)
    assert [policy.take(0.0).jobs[0].length for _ in jobs] == [3, 5, 1, 4, 0, 2, 6]
    policy = filled(Scheduling(priorities=False), jobs)
    assert [policy.take(0.0).jobs[0].length for _ in jobs] == [0, 1, 2, 3, 4, 5, 6]


def test_a_low_priority_is_passed_over_sixteen_times_and_not_for_ever() -> None:
    policy = filled(Scheduling(priorities=True), [FakeJob("h", priority=2) for _ in range(800)])
    for priority in (-2, -1, 0):
        for _ in range(20):
            policy.offer(FakeJob(str(priority), priority=priority), 0.0)
    seen = [policy.take(0.0).jobs[0].priority for _ in range(400)]
    for low in (-2, -1, 0):
        turns = [at for at, priority in enumerate(seen) if priority == low]
        assert turns[0] >= PATIENCE
        assert max(after - before for before, after in pairwise(turns)) <= PATIENCE + 4
    assert seen.count(2) >= 300


def test_a_priority_that_had_nothing_waiting_was_not_passed_over() -> None:
    low = FakeJob("low", priority=-1)
    policy = filled(Scheduling(priorities=True), [FakeJob("h") for _ in range(100)] + [low])
    for _ in range(PATIENCE - 1):
        assert clients(policy.take(0.0).jobs) == "h"
    policy.withdraw(low)
    policy.offer(FakeJob("low", priority=-1), 0.0)
    for _ in range(PATIENCE):
        assert clients(policy.take(0.0).jobs) == "h"
    assert clients(policy.take(0.0).jobs) == "low"


def test_a_batch_waits_until_it_is_full_or_its_oldest_job_has_waited_long_enough() -> None:
    policy = filled(Scheduling(max_batch=3, max_wait=2.0), [FakeJob(key="k")], now=10.0)
    assert policy.take(10.0).again == 12.0
    policy.offer(FakeJob(key="k"), 11.0)
    assert policy.take(11.5) == ([], 0.0, 12.0) and not policy.ready(11.5)
    assert len(policy.take(12.0).jobs) == 2
    for _ in range(3):
        policy.offer(FakeJob(key="k"), 20.0)
    assert policy.ready(20.0) and len(policy.take(20.0).jobs) == 3


def test_what_remains_when_those_who_need_not_wait_are_gone_waits_its_own_time() -> None:
    policy = filled(Scheduling(max_batch=8, max_wait=2.0, token_budget=50), [FakeJob(key="k"), FakeJob(key="l")])
    policy.offer(FakeJob(key="l"), 1.5)
    assert len(policy.take(2.0).jobs) == 1 and policy.ready(2.0)
    assert policy.withdraw(next(iter(policy.waiting)))
    assert policy.take(2.0).again == 3.5
    for length in (60, 10):
        policy.offer(FakeJob(key="k", length=length), 3.0)
    assert [job.length for job in policy.take(3.0).jobs] == [60]
    assert policy.take(3.0).again == 3.5


def test_a_job_whose_deadline_would_not_bear_the_wait_does_not_wait() -> None:
    policy = filled(Scheduling(max_batch=3, max_wait=2.0), [FakeJob(key="k", deadline=2.5)])
    assert policy.take(0.0).again == 2.0
    policy.pace.note(1, 1.0)  # a run takes a second: begun at 2.0 it would end too late
    policy.offer(FakeJob(key="k", deadline=2.5), 0.0)
    assert len(policy.take(0.0).jobs) == 2


def test_a_short_text_does_not_wait_in_a_batch_with_a_very_long_one() -> None:
    lengths = [3, 500, 5, 480, 8]
    policy = filled(Scheduling(max_batch=8, buckets=(8, 64)), [FakeJob(key="k", length=n) for n in lengths])
    batches = [[job.length for job in policy.take(0.0).jobs] for _ in range(2)]
    assert sorted(batches) == [[3, 5, 8], [500, 480]]


def test_a_job_that_was_cancelled_is_in_no_batch() -> None:
    jobs = [FakeJob(key="k", length=at, cancelled=at in (0, 2)) for at in range(5)]
    policy = filled(Scheduling(max_batch=8), jobs)
    assert [job.length for job in policy.take(0.0).jobs] == [1, 3, 4]
    assert [(job.length, why) for job, why in policy.reap(0.0)] == [(0, "cancelled"), (2, "cancelled")]


def test_padding_counts_against_the_token_budget_and_a_job_beyond_it_runs_alone() -> None:
    jobs = [FakeJob(at, "k", length=n) for at, n in enumerate([10, 10, 40, 10, 200])]
    policy = filled(Scheduling(max_batch=8, token_budget=50), jobs)
    batches = [[job.length for job in policy.take(0.0).jobs] for _ in range(3)]
    assert batches == [[10, 10, 10], [40], [200]]


def test_a_batch_is_filled_from_lower_priorities_too() -> None:
    jobs = [FakeJob(key="k", priority=1), FakeJob(key="k", priority=-1), FakeJob(key="other", priority=0)]
    policy = filled(Scheduling(max_batch=4, priorities=True), jobs)
    assert [job.priority for job in policy.take(0.0).jobs] == [1, -1]


def test_a_full_queue_refuses_and_says_when_there_may_be_room() -> None:
    policy = filled(Scheduling(queue=100, lanes=2), [FakeJob(at) for at in range(100)])
    assert policy.offer(FakeJob(), 0.0) == 1.0  # nothing is known yet
    policy.pace.note(1, 0.2)
    assert policy.offer(FakeJob(), 0.0) == pytest.approx(5.0)
    policy.pace.note(1, 1e9)
    assert policy.offer(FakeJob(), 0.0) == 60.0


def test_one_client_never_fills_the_queue_so_that_others_find_a_place() -> None:
    policy: Policy[FakeJob] = Policy(Scheduling(queue=100))
    taken = {client: sum(policy.offer(FakeJob(client), 0.0) is None for _ in range(200)) for client in "ab"}
    assert taken == {"a": 80, "b": 16}
    assert policy.offer(FakeJob("c"), 0.0) is None


def test_expired_jobs_make_room_in_a_full_queue() -> None:
    policy = filled(Scheduling(queue=2), [FakeJob(deadline=1.0), FakeJob()])
    assert policy.offer(FakeJob(), 0.5) is not None
    assert policy.offer(FakeJob(), 1.0) is None
    assert [why for _, why in policy.reap(1.0)] == ["expired"]


def test_a_job_can_not_wait_twice() -> None:
    job = FakeJob()
    policy = filled(Scheduling(), [job])
    with pytest.raises(ValueError, match="waits already"):
        policy.offer(job, 0.0)


def test_a_job_that_ended_is_referred_to_no_more() -> None:
    policy = filled(Scheduling(max_batch=4, max_wait=9.0), [FakeJob(key="k", deadline=99.0) for _ in range(3)])
    refs = [weakref.ref(job) for job in policy.waiting]
    policy.withdraw(next(iter(policy.waiting)))
    policy.offer(FakeJob("other"), 0.0)
    policy.take(9.0)
    policy.take(9.0)
    assert [ref() for ref in refs] == [None] * 3
