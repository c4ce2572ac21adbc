"""Workers that crash, hang, run out of memory or are killed: what becomes of their tasks, and of all others."""

from __future__ import annotations

import errno
import itertools
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from sharedmodel.client import TaskExecutor
from sharedmodel.errors import DeadlineExceeded, SharedModelError, Stuck, WorkerLost

from . import task_functions as do
from .servers import until, watching

PATIENCE = 200.0
DEATHS = [("exit", 7), ("segfault", -signal.SIGSEGV), ("SIGKILL", -signal.SIGKILL), ("SIGABRT", -signal.SIGABRT)]


@pytest.fixture
def pool(runtime: str) -> Iterator[TaskExecutor]:
    with TaskExecutor(2, grace=0.3) as pool:
        yield pool


@pytest.mark.parametrize(("how", "code"), DEATHS)
def test_a_task_whose_worker_ends_runs_again_in_another(how: str, code: int, pool: TaskExecutor, runtime: str) -> None:
    assert pool.submit(do.die, how, f"{runtime}/mark").result(PATIENCE) != os.getpid()


@pytest.mark.parametrize(("how", "code"), DEATHS)
def test_a_task_that_ends_its_worker_each_time_fails_and_says_how(how: str, code: int, pool: TaskExecutor) -> None:
    beside = [pool.submit(do.add, n) for n in range(20)]
    with pytest.raises(WorkerLost, match="the last of 2 times") as caught:
        pool.submit(do.die, how).result(PATIENCE)
    assert caught.value.exit_code == code
    assert (f"exit code {code}" if code > 0 else signal.Signals(-code).name) in str(caught.value)
    assert [future.result(PATIENCE) for future in beside] == list(range(1, 21))


def test_how_often_a_task_runs_again_is_stated(runtime: str) -> None:
    with TaskExecutor(1, retries=0) as pool:
        pool.register("dies", do.die, retries=3)
        with pytest.raises(WorkerLost, match=r"exit code 7$"):
            pool.submit(do.die, "exit", f"{runtime}/mark").result(PATIENCE)
        with pytest.raises(WorkerLost, match=r"task 8 \(dies\).* the last of 4 times"):
            pool.submit_task(8, "dies", how="exit").result(PATIENCE)


def test_a_worker_that_is_killed_while_it_has_nothing_to_do_costs_no_task_a_try(runtime: str) -> None:
    with TaskExecutor(1, retries=0) as pool:
        for _ in range(3):
            pid = pool.submit(do.pid).result(PATIENCE)
            with watching(pid) as gone:
                os.kill(pid, signal.SIGKILL)
                assert gone()
        assert pool.submit(do.pid).result(PATIENCE) != pid


@pytest.mark.parametrize("function", [do.hang, do.hang_in_c])
def test_a_task_that_hangs_is_ended_and_fails_as_stuck(function: Any, runtime: str) -> None:
    with TaskExecutor(1, max_run=1.0, retries=0) as pool:
        with pytest.raises(Stuck, match="max_run of 1 s"):
            pool.submit(function, f"{runtime}/hangs").result(PATIENCE)
        assert pool.submit(do.add, 1).result(PATIENCE) == 2
        assert not psutil.pid_exists(int(Path(runtime, "hangs").read_text()))


def test_a_task_that_hung_once_runs_again(runtime: str) -> None:
    with TaskExecutor(1) as pool:
        pool.register("hangs", do.hang_once, max_run=1.0)
        assert pool.submit_task(1, "hangs", path=f"{runtime}/hung").result(PATIENCE) != os.getpid()


@pytest.mark.parametrize("function", [do.hang, do.hang_in_c, do.wait_until_cancelled])
def test_a_deadline_is_kept_and_the_work_ended(function: Any, pool: TaskExecutor, runtime: str) -> None:
    future = pool.with_timeout(1.5).submit(function, f"{runtime}/late")
    with pytest.raises(DeadlineExceeded, match=r"within 1\.5 s"):
        future.result(PATIENCE)
    assert pool.submit(do.add, 1).result(PATIENCE) == 2


def test_a_deadline_counts_from_submission_also_for_a_task_that_waits(runtime: str) -> None:
    with TaskExecutor(1) as pool:
        busy = pool.submit(do.hang, f"{runtime}/busy")
        pool.register("pid", do.pid, timeout=0.2)
        with pytest.raises(DeadlineExceeded, match=r"task 3 \(pid\)"):
            pool.submit_task(3, "pid").result(PATIENCE)
        assert busy.cancel()


@pytest.mark.parametrize("function", [do.hang, do.hang_in_c, do.start_and_hang])
def test_cancelling_ends_the_work_and_what_it_has_started(function: Any, pool: TaskExecutor, runtime: str) -> None:
    path = Path(runtime, "works")
    future = pool.submit(function, str(path))
    until(path.exists, lambda: "it does not begin")
    assert future.running()
    with watching(int(path.read_text())) as gone:
        assert future.cancel()
        assert future.cancelled()
        with pytest.raises(CancelledError):
            future.result()
        assert gone()


def test_a_task_that_heeds_its_cancellation_keeps_its_worker(runtime: str) -> None:
    with TaskExecutor(1, grace=PATIENCE) as pool:
        pid = pool.submit(do.pid).result(PATIENCE)
        future = pool.submit(do.wait_until_cancelled, f"{runtime}/works")
        until(Path(runtime, "works").exists, lambda: "it does not begin")
        assert future.cancel()
        assert pool.submit(do.pid).result(PATIENCE) == pid
        assert os.path.exists(f"{runtime}/works.heeded")


def test_a_task_that_has_not_begun_is_cancelled_without_a_trace(runtime: str) -> None:
    with TaskExecutor(1) as pool:
        busy = pool.submit(do.hang, f"{runtime}/busy")
        never = pool.submit(do.hang, f"{runtime}/never")
        assert never.cancel()
        assert never.cancel()
        assert busy.cancel()
        assert pool.submit(do.add, 1).result(PATIENCE) == 2
        assert not os.path.exists(f"{runtime}/never")


def test_a_task_that_takes_too_much_memory_has_a_memory_error_and_the_next_a_fresh_worker(runtime: str) -> None:
    with TaskExecutor(1, memory_limit=64 << 20) as pool:
        before = pool.submit(do.pid).result(PATIENCE)
        with pytest.raises(MemoryError):
            pool.submit(do.allocate, 256 << 20).result(PATIENCE)
        assert pool.submit(do.allocate, 1 << 20).result(PATIENCE) == 1 << 20
        assert pool.submit(do.pid).result(PATIENCE) != before
        # What lies in shared memory does not count.
        assert len(pool.submit(do.echo, np.ones(256 << 20, "u1")).result(PATIENCE)) == 256 << 20


def test_a_worker_is_replaced_after_as_many_tasks_as_are_stated(runtime: str) -> None:
    with TaskExecutor(1, max_tasks_per_child=2) as pool:
        pids = [pool.submit(do.pid).result(PATIENCE) for _ in range(5)]
    assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4]


def test_a_grace_without_end_is_one(runtime: str) -> None:
    with TaskExecutor(1, max_tasks_per_child=1, grace=float("inf")) as pool:
        assert pool.submit(do.pid).result(PATIENCE) != pool.submit(do.pid).result(PATIENCE)


def test_a_worker_that_can_not_be_watched_is_not_left_behind(
    pool: TaskExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(pid: int, flags: int = 0) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patched:
        patched.setattr(os, "pidfd_open", refuse)
        with pytest.raises(OSError, match="open files"):
            pool.submit(do.pid).result(PATIENCE)
        assert not workers()
    assert pool.submit(do.add, 1).result(PATIENCE) == 2


@pytest.mark.parametrize("timeout", [None, PATIENCE])
def test_where_no_thread_can_be_started_a_task_is_refused_and_later_ones_are_not(
    timeout: float | None, runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with TaskExecutor(1, max_in_flight=1, when_full="refuse", timeout=timeout) as pool:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            for _ in range(2):
                with pytest.raises(RuntimeError, match="new thread"):
                    pool.submit(do.pid)
        assert pool.submit(do.add, 1).result(PATIENCE) == 2


def test_workers_are_killed_at_random_and_each_task_ends_right_or_with_the_reason(runtime: str) -> None:
    chance = random.Random(5)
    kills, numbers = 12, itertools.count()
    futures: dict[int, Future[Any]] = {}
    array = np.arange(100_000)
    with TaskExecutor(2) as pool:
        for _ in range(kills):
            futures |= {n: pool.submit(do.add, array, n) for n in itertools.islice(numbers, 30)}
            until(lambda: bool(workers()), lambda: "there is no worker")
            time.sleep(chance.uniform(0, 0.1))  # a random moment is what is meant
            os.kill(chance.choice(workers()), signal.SIGKILL)
        lost = sum(_is_lost(future, array + n) for n, future in futures.items())
    assert lost <= kills // 2  # each took two of them


def workers() -> list[int]:
    children = psutil.Process().children()
    return [child.pid for child in children if "client.executor.child" in "".join(command_of(child))]


def command_of(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:  # it has just ended
        return []


def _is_lost(future: Future[Any], expected: Any) -> bool:
    try:
        assert (future.result(PATIENCE) == expected).all()
    except SharedModelError as exc:
        assert "SIGKILL" in str(exc)
        return True
    return False


def test_stop_ends_what_runs_and_what_waits_at_once(runtime: str) -> None:
    pool = TaskExecutor(2)
    futures = [pool.submit(do.hang, f"{runtime}/{n}") for n in range(4)]
    until(Path(runtime, "0").exists, lambda: "it does not begin")
    stopper = threading.Thread(target=pool.stop)
    stopper.start()
    stopper.join(PATIENCE)
    assert all(future.cancelled() for future in futures)
    pool.stop()
