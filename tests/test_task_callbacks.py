"""Callbacks of tasks run on the executor's own threads: whatever they do there, tasks and deadlines go on."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from sharedmodel.client import TaskExecutor
from sharedmodel.errors import DeadlineExceeded

from . import task_functions as do

PATIENCE = 200.0


class Next:
    """A callback that submits once the place of its task has been taken by somebody else."""

    def __init__(self, pool: TaskExecutor) -> None:
        self._pool = pool
        self.taken = threading.Event()
        self._submitted: SimpleQueue[Future[Any]] = SimpleQueue()

    def __call__(self, task_id: Any, future: Future[Any]) -> None:
        assert self.taken.wait(PATIENCE)
        self._submitted.put(self._pool.submit(do.add, 1))

    def result(self) -> Any:
        return self._submitted.get(timeout=PATIENCE).result(PATIENCE)


@pytest.fixture
def pool(runtime: str) -> Iterator[TaskExecutor]:
    pool = TaskExecutor(1, max_in_flight=1, grace=0.1)
    yield pool
    pool.stop()


@pytest.fixture
def pipe(runtime: str) -> str:
    os.mkfifo(f"{runtime}/pipe")
    return f"{runtime}/pipe"


def leave(_: Any) -> None:
    raise SystemExit(3)


def test_what_a_callback_submits_does_not_wait_for_a_place(pool: TaskExecutor, pipe: str) -> None:
    then = Next(pool)
    pool.register("first", do.wait_for, callback=then)
    pool.submit_task(1, "first", path=pipe)
    Path(pipe).write_bytes(b"")
    between = pool.submit(do.pid)  # waits for the place of the first
    then.taken.set()
    assert then.result() == 2
    assert between.result(PATIENCE)


def test_deadlines_are_kept_while_the_callback_of_a_late_task_submits(pool: TaskExecutor, runtime: str) -> None:
    then = Next(pool)
    pool.register("late", do.hang, timeout=1.0, callback=then)
    pool.submit_task(1, "late", path=f"{runtime}/late")
    between = pool.submit(do.pid)
    then.taken.set()
    assert then.result() == 2
    assert between.result(PATIENCE)
    with pytest.raises(DeadlineExceeded):
        pool.with_timeout(0.2).submit(do.hang, f"{runtime}/again").result(PATIENCE)


def test_a_callback_that_exits_ends_no_thread_of_the_executor(pool: TaskExecutor, pipe: str, runtime: str) -> None:
    late = pool.with_timeout(1.0).submit(do.hang, f"{runtime}/late")
    late.add_done_callback(leave)
    assert isinstance(late.exception(PATIENCE), DeadlineExceeded)
    assert pool.submit(do.add, 1).result(PATIENCE) == 2
    held = pool.submit(do.wait_for, pipe)
    held.add_done_callback(leave)
    Path(pipe).write_bytes(b"")
    assert held.result(PATIENCE)
    assert pool.submit(do.add, 1).result(PATIENCE) == 2
    with pytest.raises(DeadlineExceeded):
        pool.with_timeout(0.2).submit(do.hang, f"{runtime}/again").result(PATIENCE)
