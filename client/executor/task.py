"""A task from its submission to its end, and its future."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from typing import Any

from sharedmodel.errors import DeadlineExceeded

from .reference import Work

logger = logging.getLogger("sharedmodel")


@dataclass(frozen=True)
class Terms:
    """What holds for a task. ``retries``: how often it runs again when its worker ended.

    In seconds: ``timeout`` from submission to result, ``max_run`` for one run, after which it counts as hung.
    """

    retries: int = 1
    timeout: float | None = None
    max_run: float | None = None


class TaskFuture(Future[Any]):
    """A future whose `cancel` ends also work that has begun: its worker is told, and killed if it goes on.

    It is pending in the sense of the standard library until its end, so that it can be cancelled until then.
    """

    def __init__(self, task_id: Any = None) -> None:
        super().__init__()
        self.task_id = task_id
        self.begun = False
        self.give_up: Callable[[], None] | None = None
        self._first = [True]

    def cancel(self) -> bool:
        """Whether it is cancelled now; False where it has ended already."""
        if not super().cancel():
            return False
        with contextlib.suppress(IndexError):  # somebody else was first
            self._first.pop()
            self.set_running_or_notify_cancel()
            if self.give_up is not None:
                self.give_up()
        return True

    def running(self) -> bool:
        """Whether a worker is at it."""
        return self.begun and not self.done()


@contextlib.contextmanager
def _ending() -> Iterator[None]:
    """On one of the executor's own threads, which no callback may end: the standard lets through a SystemExit."""
    try:
        yield
    except InvalidStateError:  # its caller gave up
        pass
    except BaseException:
        logger.critical("a task's callback failed", exc_info=True)


class Task:
    """What is to be done and what has become of it. `abandoned` is set by who runs it."""

    def __init__(self, what: str, work: Work, terms: Terms, task_id: Any = None) -> None:
        """``what``: its name in messages."""
        self.what = what
        self.work: Work | None = work
        self.terms = terms
        self.future = TaskFuture(task_id)
        self.future.give_up = self.give_up
        self.abandoned: Callable[[], None] | None = None

    @property
    def done(self) -> bool:
        """Whether it has ended for its caller; its work may go on for a moment."""
        return self.future.done()

    def succeed(self, value: Any) -> None:
        with _ending():
            self.future.set_result(value)
        self._ended()

    def fail(self, error: Exception) -> None:
        # Its frames here say nothing, and hold the arguments; those of the worker are its cause.
        error.__traceback__ = None
        with _ending():
            self.future.set_exception(error)
        self._ended()

    def cancel(self) -> None:
        with _ending():
            self.future.cancel()

    def expire(self) -> None:
        """Its deadline has come."""
        if not self.done:
            self.fail(DeadlineExceeded(f"{self.what} did not end within {self.terms.timeout:.3g} s"))
            self.give_up()

    def give_up(self) -> None:
        """Nobody waits for it any more: if it runs, it is told."""
        self._ended()
        if (abandoned := self.abandoned) is not None:
            abandoned()

    def _ended(self) -> None:
        self.work = None  # what has ended keeps no arguments alive
        self.future.give_up = None  # or the two would keep one another, and the result, until the collector comes
