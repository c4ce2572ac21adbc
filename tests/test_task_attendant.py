"""Who is told to stop, or killed: the work of that task, never of the next one in the same worker."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from types import TracebackType

import pytest

from sharedmodel.client.executor import attendant
from sharedmodel.client.executor.attendant import Attendant, Manner
from sharedmodel.client.executor.reference import Work
from sharedmodel.client.executor.task import Task, Terms
from sharedmodel.client.executor.worker import Worker
from sharedmodel.timers import Timers

PATIENCE = 200.0


class Turn:
    """A lock that tells when somebody has to wait for it."""

    def __init__(self, news: threading.Event) -> None:
        self._lock = threading.Lock()
        self._news = news

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            self._news.set()
            self._lock.acquire()

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._lock.release()


class Fast:
    """A worker whose first task ends just when something is done to it, and whose next one begins if it can."""

    usable = True
    tasks = 0

    def __init__(self, how: str) -> None:
        self.how = how
        self.works: str | None = None
        self.hit: list[str | None] = []
        self.begun = threading.Event()
        self.news = threading.Event()
        self._over = threading.Event()

    def greet(self) -> None: ...

    def end(self, patience: float) -> None: ...

    def call(self, work: Work) -> None:
        self.works = work.reference
        if work.reference == "second":
            self.news.set()
        self.begun.set()
        self._over.wait(PATIENCE)

    def cancel(self) -> None:
        self._hit("cancel")

    def kill(self) -> None:
        self._hit("kill")

    def _hit(self, how: str) -> None:
        if how == self.how:
            self._over.set()
            assert self.news.wait(PATIENCE)  # the thread of the attendant goes on, or has to wait
            self.hit.append(self.works)


def stuck(task: Task, begun: threading.Event) -> None: ...


def given_up(task: Task, begun: threading.Event) -> None:
    assert begun.wait(PATIENCE)
    task.future.cancel()


@pytest.mark.parametrize(
    ("how", "end", "terms"),
    [("cancel", given_up, Terms()), ("kill", given_up, Terms()), ("kill", stuck, Terms(max_run=0.0))],
)
def test_what_ends_a_task_does_not_hit_the_next(
    how: str, end: Callable[[Task, threading.Event], None], terms: Terms, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, timers = Fast(how), Timers()
    monkeypatch.setattr(attendant, "Worker", lambda memory_limit: worker)
    attending = Attendant(Manner(grace=0.0), timers)
    attending._lock = Turn(worker.news)  # type: ignore[assignment]
    first, second = Task("first", Work("first", (), {}), terms), Task("second", Work("second", (), {}), Terms())

    def both() -> None:
        attending.run(first)
        attending.run(second)

    thread = threading.Thread(target=both)
    thread.start()
    end(first, worker.begun)
    thread.join(PATIENCE)
    timers.close()
    assert worker.hit == ["first"]
    assert second.future.result(0) is None


def test_a_worker_that_was_killed_is_not_used_while_it_goes(runtime: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(pid: int, number: int) -> None: ...

    worker = Worker()
    worker.greet()
    assert worker.usable
    with monkeypatch.context() as patched:
        patched.setattr(os, "killpg", slowly)
        worker.kill()
        assert not worker.usable
    worker.end(0.0)
