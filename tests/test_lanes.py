"""Jobs on the threads that bring them: who runs what, when, and how each ends."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pytest

from sharedmodel import failure
from sharedmodel.errors import Cancelled, DeadlineExceeded, Overloaded
from sharedmodel.server.scheduling.batching import Measure, Request
from sharedmodel.server.scheduling.lanes import Lanes
from sharedmodel.server.scheduling.settings import Scheduling

from .jobs import FakeJob
from .servers import until

Start = Callable[[Callable[[], Any]], threading.Thread]


class Doubling:
    """Gives each job twice its rows, and notes the sizes of batches."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def measure(self, method: str, args: Sequence[Any], kwargs: Any) -> Measure | None:
        raise AssertionError("these jobs know their keys")

    def run(self, requests: Sequence[Request]) -> list[Any]:
        self.sizes.append(len(requests))
        return [2 * request.args[0].rows for request in requests]


class Gate:
    """Work that says when it has begun and goes on when it may."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.open = threading.Event()

    def __call__(self) -> str:
        self.begun.set()
        assert self.open.wait(30)
        return "done"


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts threads, which must all have ended with the test."""
    started: list[threading.Thread] = []

    def begin(target: Callable[[], Any]) -> threading.Thread:
        started.append(threading.Thread(target=target))
        started[-1].start()
        return started[-1]

    yield begin
    for thread in started:
        thread.join(30)
        assert not thread.is_alive()


def busy(lanes: Lanes[FakeJob], start: Start) -> tuple[Gate, FakeJob]:
    """A lane that is taken until its gate is opened."""
    gate = Gate()
    job = FakeJob("busy", work=gate)
    start(lambda: lanes.submit(job))
    assert gate.begun.wait(30)
    return gate, job


def test_an_idle_model_runs_a_job_on_the_thread_that_brought_it() -> None:
    lanes: Lanes[FakeJob] = Lanes("m")
    job = FakeJob()
    lanes.submit(job)
    assert job.end == "done" and job.thread is threading.current_thread() and job.withdraw is None


def test_who_finds_the_lane_taken_leaves_its_job_to_the_thread_that_has_it(start: Start) -> None:
    lanes: Lanes[FakeJob] = Lanes("m")
    gate, first = busy(lanes, start)
    jobs = [FakeJob() for _ in range(5)]
    for job in jobs:
        assert lanes.admit(job) is None
    assert not any(job.ends for job in jobs) and lanes.counts().waiting == 5
    gate.open.set()
    assert {job.end for job in jobs} == {"done"}
    assert {job.thread for job in jobs} == {first.thread}


def test_as_many_run_at_once_as_there_are_lanes(start: Start) -> None:
    lanes: Lanes[FakeJob] = Lanes("m", Scheduling(lanes=2))
    (one, _), (two, _) = busy(lanes, start), busy(lanes, start)
    third = FakeJob()
    lanes.submit(third)
    assert lanes.counts().running == 2 and not third.ends
    one.open.set()
    assert third.end == "done"
    two.open.set()


def test_what_queued_up_while_the_model_ran_runs_together(start: Start) -> None:
    doubling = Doubling()
    lanes: Lanes[FakeJob] = Lanes("m", Scheduling(max_batch=4), doubling)
    gate, _ = busy(lanes, start)
    jobs = [FakeJob(key="k", rows=1) for _ in range(6)]
    for job in jobs:
        lanes.submit(job)
    gate.open.set()
    assert {job.end for job in jobs} == {2}
    assert doubling.sizes == [4, 2]


def test_jobs_that_come_together_and_fit_into_one_run_are_never_queued() -> None:
    doubling = Doubling()
    lanes: Lanes[FakeJob] = Lanes("m", Scheduling(max_batch=4), doubling)
    jobs = [FakeJob(client, key="k") for client in "abcd"]
    lane = lanes.admit(*jobs)
    assert lane is not None and list(lane.jobs) == jobs
    lanes.work(lane)
    assert [job.end for job in jobs] == [2, 2, 2, 2] and doubling.sizes == [4]
    assert not any(job.withdraw for job in jobs)


def test_jobs_that_come_together_and_do_not_fit_take_their_turns() -> None:
    doubling = Doubling()
    lanes: Lanes[FakeJob] = Lanes("m", Scheduling(max_batch=4), doubling)
    greedy, gone = [FakeJob("greedy", key="k") for _ in range(5)], FakeJob("gone", key="k", cancelled=True)
    modest = FakeJob("modest", key="k")
    lane = lanes.admit(*greedy, gone, modest)
    assert lane is not None and not lane.jobs
    lanes.work(lane)
    assert [job.end for job in (*greedy, modest)] == [2] * 6 and doubling.sizes == [4, 2]
    assert isinstance(gone.end, Cancelled)


def test_a_lane_waits_for_others_to_batch_with_until_there_are_enough(start: Start) -> None:
    doubling = Doubling()
    lanes: Lanes[FakeJob] = Lanes("m", Scheduling(max_batch=3, max_wait=60), doubling)
    jobs = [FakeJob(key="k") for _ in range(3)]
    start(lambda: lanes.submit(jobs[0]))
    for job in jobs[1:]:
        lanes.submit(job)
    assert [job.end for job in jobs] == [2, 2, 2] and doubling.sizes == [3]


def test_a_lane_waits_no_longer_than_it_may() -> None:
    lanes: Lanes[FakeJob] = Lanes("m", Scheduling(max_batch=3, max_wait=0.05), Doubling())
    job, begin = FakeJob(key="k"), time.monotonic()
    lanes.submit(job)
    assert job.end == "done" and time.monotonic() - begin >= 0.05


def test_a_lane_that_waits_is_woken_by_a_job_that_need_not(start: Start) -> None:
    lanes: Lanes[FakeJob] = Lanes("m", Scheduling(max_batch=3, max_wait=60), Doubling())
    waits, alone = FakeJob(key="k"), FakeJob()
    start(lambda: lanes.submit(waits))
    while not lanes.counts().waiting:
        time.sleep(0)
    start(lambda: lanes.submit(alone))
    assert alone.end == "done" and not waits.ends
    assert lanes.drain(30)
    assert waits.end == "done"


def test_two_batches_that_are_full_at_once_run_at_once(start: Start) -> None:
    both = threading.Barrier(2)

    class Meeting(Doubling):
        def run(self, requests: Sequence[Request]) -> list[Any]:
            both.wait(20)
            return super().run(requests)

    lanes: Lanes[FakeJob] = Lanes("m", Scheduling(max_batch=2, max_wait=60, lanes=2), Meeting())
    jobs = [FakeJob(key=key) for key in "abab"]
    for count, job in enumerate(jobs[:2], 1):
        start(partial(lanes.submit, job))
        until(lambda count=count: lanes._asleep == count, lambda: "no lane waits")  # type: ignore[misc]
    assert lanes.admit(*jobs[2:]) is None
    assert [job.end for job in jobs] == [2] * 4


def test_a_full_batch_or_one_row_too_many_does_not_wait() -> None:
    lanes: Lanes[FakeJob] = Lanes("m", Scheduling(max_batch=3, max_wait=60), Doubling())
    for job in (FakeJob(key="k", rows=3), FakeJob(key="k", rows=9), FakeJob()):
        lanes.submit(job)
        assert job.end == "done" and job.withdraw is None


def test_an_expired_and_a_cancelled_job_end_so_and_never_run(start: Start) -> None:
    now = 100.0
    lanes: Lanes[FakeJob] = Lanes("m", clock=lambda: now)
    late, gone = FakeJob(deadline=99.0), FakeJob(cancelled=True)
    lanes.submit(late)
    lanes.submit(gone)
    assert isinstance(late.end, DeadlineExceeded) and isinstance(gone.end, Cancelled)
    gate, _ = busy(lanes, start)
    queued = [FakeJob(deadline=101.0), FakeJob(), FakeJob(deadline=500.0)]
    for job in queued:
        lanes.submit(job)
    now, queued[1].cancelled = 102.0, True
    gate.open.set()
    ends = [job.end for job in queued]
    assert isinstance(ends[0], DeadlineExceeded) and isinstance(ends[1], Cancelled) and ends[2] == "done"
    assert lanes.drain(30)
    counts = lanes.counts()
    assert (counts.served, counts.expired, counts.cancelled) == (2, 2, 2)


def test_who_gives_up_while_its_job_waits_is_answered_at_once(start: Start) -> None:
    lanes: Lanes[FakeJob] = Lanes("m")
    gate, first = busy(lanes, start)
    job = FakeJob()
    lanes.submit(job)
    assert job.withdraw is not None
    job.withdraw()
    assert isinstance(job.end, Cancelled) and lanes.counts().waiting == 0
    job.withdraw()
    lanes.withdraw(first)
    assert not first.ends
    gate.open.set()
    assert first.end == "done" and len(job.ends) == 1


def test_a_full_queue_refuses_at_once_and_says_when_to_try_again(start: Start) -> None:
    lanes: Lanes[FakeJob] = Lanes("pages", Scheduling(queue=2))
    gate, _ = busy(lanes, start)
    jobs = [FakeJob() for _ in range(3)]
    for job in jobs:
        lanes.submit(job)
    assert isinstance(jobs[2].end, Overloaded) and jobs[2].end.retry_after == 1.0
    assert str(jobs[2].end) == "2 calls of model 'pages' wait, as many as may; try again in 1 s"
    gate.open.set()
    assert jobs[1].end == "done" and lanes.counts().refused == 1


def test_when_to_try_again_crosses_to_the_caller() -> None:
    crossed = failure.from_wire(failure.to_wire(Overloaded("full", 2.5)))
    assert type(crossed) is Overloaded and crossed.retry_after == 2.5 and str(crossed) == "full"


def test_draining_serves_what_waits_refuses_what_comes_and_says_whether_all_ended(start: Start) -> None:
    lanes: Lanes[FakeJob] = Lanes("m")
    gate, first = busy(lanes, start)
    waits, late = FakeJob(), FakeJob()
    lanes.submit(waits)
    assert not lanes.drain(0)
    lanes.submit(late)
    assert isinstance(late.end, Overloaded) and "unloaded or replaced" in str(late.end)
    gate.open.set()
    assert lanes.drain(30) and lanes.drain(30)
    assert (first.end, waits.end) == ("done", "done")


def test_it_tells_what_runs_and_since_when(start: Start) -> None:
    now = 10.0
    lanes: Lanes[FakeJob] = Lanes("m", clock=lambda: now)
    assert lanes.running() == []
    gate, job = busy(lanes, start)
    now = 13.0
    assert lanes.running() == [(job, 3.0)] and lanes.running(20.0) == [(job, 10.0)]
    gate.open.set()
    assert lanes.drain(30) and lanes.running() == []


class Listening:
    def __init__(self) -> None:
        self.heard: list[Any] = []

    def batch(self, size: int, waited: float, took: float) -> None:
        self.heard.append((size, waited, took))
        raise ValueError("an observer's fault")

    def turned_away(self, why: str) -> None:
        self.heard.append(why)
        raise ValueError("an observer's fault")


def test_an_observer_hears_all_and_its_faults_do_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    now, listening = 0.0, Listening()

    def work() -> str:
        nonlocal now
        if now == 0.0:
            for job in jobs:
                lanes.submit(job)
        now += 2.0
        return "done"

    jobs = [FakeJob(deadline=1.0), FakeJob(key="k"), FakeJob(key="k"), FakeJob(work=work)]
    lanes: Lanes[FakeJob] = Lanes("m", Scheduling(max_batch=4), Doubling(), observer=listening, clock=lambda: now)
    lanes.submit(FakeJob(work=work))
    assert listening.heard == [(1, 0.0, 2.0), "expired", (2, 4.0, 0.0), (1, 2.0, 2.0)]
    counts = lanes.counts()
    assert (counts.served, counts.batches, counts.waited_seconds, counts.run_seconds) == (4, {1: 2, 2: 1}, 6.0, 4.0)
    assert caplog.text.count("an observer of model m failed") == 4


@pytest.mark.parametrize("results", [ValueError("broken"), [1, 2, 3]])
def test_a_batch_that_fails_as_a_whole_fails_each_of_its_jobs(start: Start, results: Any) -> None:
    class Broken(Doubling):
        def run(self, requests: Sequence[Request]) -> list[Any]:
            if isinstance(results, Exception):
                raise results
            return list(results)

    lanes: Lanes[FakeJob] = Lanes("m", Scheduling(max_batch=2), Broken())
    gate, _ = busy(lanes, start)
    jobs = [FakeJob(key="k") for _ in range(2)]
    for job in jobs:
        lanes.submit(job)
    gate.open.set()
    assert all(isinstance(job.end, ValueError | RuntimeError) for job in jobs)
    assert "3 results for 2 calls" in str(jobs[0].end) or jobs[0].end is results


def test_a_result_that_can_not_be_answered_keeps_nobody_else_from_theirs(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    class Deaf(FakeJob):
        def answer(self, value: Any) -> None:
            raise OSError("deaf")

    lanes: Lanes[FakeJob] = Lanes("m", Scheduling(max_batch=2), Doubling())
    gate, _ = busy(lanes, start)
    job = FakeJob(key="k")
    lanes.submit(Deaf(key="k"))
    lanes.submit(job)
    gate.open.set()
    assert job.end == 2 and lanes.drain(30) and "deaf" in caplog.text


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_lane_is_not_lost_with_what_a_job_raises(error: type[BaseException]) -> None:
    def work() -> str:
        raise error("a fault")

    lanes: Lanes[FakeJob] = Lanes("m")
    job, after = FakeJob(work=work), FakeJob()
    try:
        lanes.submit(job)
    except KeyboardInterrupt:
        pass
    else:
        assert isinstance(job.end, ValueError)
    lanes.submit(after)
    assert after.end == "done" and lanes.running() == []


@pytest.mark.parametrize("max_wait", [0.0, 0.002])
def test_in_a_storm_every_job_ends_once_and_no_bound_is_passed(start: Start, max_wait: float) -> None:
    settings = Scheduling(max_batch=4, max_wait=max_wait, queue=40, lanes=3, priorities=True)
    doubling, most, running, lock = Doubling(), 0, 0, threading.Lock()

    def work() -> str:
        nonlocal most, running
        with lock:
            running += 1
            most = max(most, running)
        with lock:
            running -= 1
        return "done"

    def client(number: int) -> None:
        pick = random.Random(number)
        for _ in range(300):
            deadline = pick.choice([None, None, time.monotonic() + 0.0005])
            jobs.append(FakeJob(number, pick.choice([None, "k", "l"]), priority=pick.randint(-2, 2), deadline=deadline))
            jobs[-1].work = work
            lanes.submit(jobs[-1])
            if pick.random() < 0.1 and (withdraw := jobs[-1].withdraw) is not None:
                withdraw()

    lanes: Lanes[FakeJob] = Lanes("m", settings, doubling)
    jobs: list[FakeJob] = []
    threads = [start(lambda number=number: client(number)) for number in range(8)]  # type: ignore[misc]
    for thread in threads:
        thread.join(60)
    assert lanes.drain(30)
    ends = [job.end for job in jobs]
    assert len(ends) == 8 * 300 and most <= 3 and max(doubling.sizes, default=2) <= 4
    counts = lanes.counts()
    assert sum(end in ("done", 2) for end in ends) == counts.served
    assert counts.served + counts.refused + counts.expired + counts.cancelled == len(jobs)
    assert (counts.waiting, counts.running) == (0, 0)
