"""The threads of a host: none is counted on that has work already, and what is urgent never waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sharedmodel import workers as module
from sharedmodel.workers import Workers

from .crowd import until

PATIENCE = 100.0


@pytest.fixture
def workers() -> Iterator[Workers]:
    pool = Workers()
    yield pool
    pool.close(PATIENCE)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What the tasks of a test wait for; open at its end."""
    event = threading.Event()
    yield event
    event.set()


class Held:
    """A queue whose reader stands still between taking a task and going on with it."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue
        self.waits, self.taken, self.go_on = threading.Event(), threading.Event(), threading.Event()

    def get(self, timeout: float) -> Any:
        self.waits.set()
        task = self._queue.get(timeout=timeout)
        self.taken.set()
        self.go_on.wait(PATIENCE)
        return task

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)


def ran(pool: Workers, **options: Any) -> threading.Event:
    event = threading.Event()
    pool.submit(event.set, **options)
    return event


def test_a_task_is_not_left_to_a_thread_that_has_just_taken_another(workers: Workers, gate: threading.Event) -> None:
    held = workers._queue = Held(workers._queue)  # type: ignore[assignment]
    assert ran(workers).wait(PATIENCE)
    assert held.waits.wait(PATIENCE)
    until(lambda: workers._idle == 1)
    workers.submit(gate.wait)
    assert held.taken.wait(PATIENCE)
    second = ran(workers)
    held.go_on.set()
    assert second.wait(PATIENCE), "it waits for the first, which waits for it"


def test_past_the_most_threads_only_what_is_urgent_runs(
    workers: Workers, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    for _ in range(2):
        workers.submit(gate.wait)
    waiting = ran(workers)
    assert ran(workers, urgent=True).wait(PATIENCE)
    gate.set()
    assert waiting.wait(PATIENCE)


def test_a_task_for_which_no_thread_can_be_started_waits_for_one(
    workers: Workers, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers.submit(gate.wait)
    start: Callable[[threading.Thread], None] = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    waiting = ran(workers)
    monkeypatch.setattr(threading.Thread, "start", start)
    gate.set()
    assert waiting.wait(PATIENCE)
    until(lambda: workers.busy == 0)


@pytest.mark.alone  # it measures tenths of a second
def test_closing_waits_no_longer_than_it_is_told_however_many_run(workers: Workers, gate: threading.Event) -> None:
    for _ in range(20):
        workers.submit(gate.wait)
    start = time.monotonic()
    assert not workers.close(0.1)
    assert time.monotonic() - start < 1.0
