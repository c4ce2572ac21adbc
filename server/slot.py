"""One model of a host: carries out on threads what `lifecycle` decides.

Any number of callers may ask at once; one load runs, on a thread of its own, and holds no lock. An object
that is let go of is drained by whoever let go of it, off the lock as well.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

from sharedmodel import deadlines, reply
from sharedmodel.errors import Cancelled, DeadlineExceeded

from . import lifecycle
from .drain import close, drain
from .lease import Leased
from .lifecycle import FAILED, Life, Step
from .progress import Progress, heard_by
from .setback import Setback, brief

logger = logging.getLogger("sharedmodel.host")


class Work(NamedTuple):
    """What a slot has done for it."""

    make: Callable[[], Leased]
    warm: Callable[[Leased], str] = lambda leased: ""  # raises unless it is fit to serve; what it found
    show: Callable[[Leased], None] = lambda leased: None  # from now on calls go to it
    hide: Callable[[], None] = lambda: None  # calls wait from now on
    room: Callable[[], AbstractContextManager[None]] = nullcontext  # it is made and warmed in it; may refuse
    fetch: Callable[[], None] = lambda: None  # what may take long and needs no room yet: a download


class NotYet(Exception):
    """The model is still loading, and who asked wanted to know how far it is."""


class Slot:
    """The life of one model. ``changed`` hears of each new state, on any thread and with no lock held."""

    def __init__(
        self,
        name: str,
        work: Work,
        changed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.served: Leased | None = None
        self.seconds = 0.0
        self._work = work
        self._changed = changed
        self._clock = clock
        self._life = Life(time.time())
        self._condition = threading.Condition()
        self._begun = self._landed = 0  # loads
        self._failure = Setback(0)
        self._progress: Progress | None = None

    @property
    def state(self) -> str:
        return self._life.state

    @property
    def busy(self) -> bool:
        """Whether a load is under way."""
        return self._life.flying

    @property
    def leaving(self) -> bool:
        """Whether an object that it had is still there."""
        return self._life.leaving > 0

    # -- to be had -------------------------------------------------------------------------------------

    def bar(self, seconds: float, why: str) -> None:
        """Before anything else: it counts as failed for as long, and is not loaded."""
        self._failure = Setback.untried(self.name, why)
        self._life.bar(self._clock() + seconds, self._failure.reason, time.time())
        logger.error("%s", self._failure.reason)

    def start(self, why: str = "on request") -> None:
        """Begin to load unless that is done, under way, or has failed a moment ago."""
        with self._condition:
            self._on(lifecycle.WANT, why)

    @property
    def retry_at(self) -> float:
        """When `retry` should be called, which loads what has failed; NEVER where nothing has."""
        return self._life.retry_at

    def retry(self) -> None:
        """Begin to load once more what has failed."""
        with self._condition:
            if self.state == FAILED:
                self._on(lifecycle.WANT, "tried again")

    def wait(self, why: str = "called", patience: float | None = None) -> Leased:
        """The object, loaded if need be.

        Raises LoadFailed with the reason, NotYet after ``patience`` seconds, DeadlineExceeded just before the
        caller's deadline; both say how far it is.
        """
        left = reply.time_left()
        early = patience is not None and (left is None or patience < left)
        end = deadlines.after(patience if early else left)
        with self._condition:
            while self.served is None:
                self._on(lifecycle.WANT, why)
                if self.state == FAILED:
                    raise self._failure.error()
                number = self._begun
                if not self._condition.wait_for(lambda: self._landed >= number, deadlines.left(end)):  # noqa: B023
                    raise (NotYet if early else DeadlineExceeded)(self._not_yet())
                if self.served is None and self._failure.flight == number:
                    raise self._failure.error()
                # Else it was unloaded at once, before this thread woke: the call is owed an object all the same.
            return self.served

    def reload(self, why: str = "reloaded on request") -> None:
        """A new object in the place of the old one. No call fails: those that run end where they began.

        Raises LoadFailed when the new one does not come about; then the old one goes on. DeadlineExceeded and
        Cancelled where its caller does not wait so long.
        """
        end = deadlines.after(reply.time_left())
        with self._condition:
            number = self._begun + 1  # a load under way may have read what has changed since
            self._await(lambda: self._begun >= number or not self.busy, end)
            if self._begun < number:
                self._on(lifecycle.RELOAD, why)
            self._await(lambda: self._landed >= number, end)
            if self._failure.flight == number:
                raise self._failure.error()

    def _await(self, come: Callable[[], bool], end: float | None) -> None:
        """Under the lock. What its caller has given up meanwhile is not begun."""
        if not self._condition.wait_for(come, deadlines.left(end)):
            raise DeadlineExceeded(self._not_yet())
        if reply.cancelled():
            raise Cancelled(f"the caller gave up before model {self.name!r} could be changed")

    def hear(self, progress: Progress | None) -> None:
        """How far is what has to be done before the model can be loaded; None: it is done."""
        with self._condition:
            changed, self._progress = progress != self._progress, progress
        if changed:
            self._changed()

    def _not_yet(self) -> str:
        doing = f"; {self._progress}" if self._progress is not None else ""
        return f"model {self.name!r} is not ready yet: it is {self._life.stage or self.state}{doing}"

    # -- to be gone ------------------------------------------------------------------------------------

    def unload(self, why: str = "unloaded on request", only: Leased | None = None, *, if_idle: bool = False) -> None:
        """Let the object go; the next call loads another. Returns when it is gone, its last call ended, and so is
        any that it replaced.

        With ``only``, not if that one has been replaced meanwhile, nor with ``if_idle`` while it is about to be.
        Raises DeadlineExceeded and Cancelled where its caller does not wait until a load under way is over.
        """
        end = deadlines.after(reply.time_left())
        with self._condition:
            self._await(lambda: if_idle or not self.busy, end)
            if only is not None and (self.served is not only or self.busy):
                return
            leaver, self.served = self.served, None
            self._on(lifecycle.UNLOAD, why)
            if leaver is not None:
                self._work.hide()
        self._changed()
        self._drain(leaver, why)
        with self._condition:
            self._condition.wait_for(lambda: if_idle or not self.leaving, deadlines.left(end))

    def sick(self, leased: Leased, why: str) -> None:
        """The object fails its canary: it leaves, and another is loaded. Not if it has been replaced already."""
        with self._condition:
            if self.served is not leased:
                return
            self.served = None
            self._on(lifecycle.SICK, why)
            self._work.hide()
        logger.error("model %s is not fit to serve any more and is loaded again: %s", self.name, why)
        self._changed()
        self._drain(leased)

    def close(self) -> None:
        """Let the object close itself. For the host's end, when nothing is called any more."""
        if self.served is not None:
            close(self.name, self.served.obj)

    def _drain(self, leaver: Leased | None, why: str = "") -> None:
        if leaver is None:
            return
        drain(self.name, leaver)
        with self._condition:
            self._on(lifecycle.DRAINED, why)
            self._condition.notify_all()
        self._changed()

    # -- to be told ------------------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        """The state as plain data; times in seconds since the epoch."""
        told = self._life.describe()
        if self.state == FAILED:
            told["reason"] = self._failure.reason
        elif self._failure.flight and self._failure.flight == self._landed:
            told["last_failure"] = self._failure.reason
        if (progress := self._progress) is not None:
            told["progress"] = progress.plain()
        return told | {"seconds": round(self.seconds, 3)}

    # -- loading ---------------------------------------------------------------------------------------

    def _on(self, event: str, why: str) -> None:
        """Take an event in, under the lock."""
        why = brief(why)
        before = self.state
        step = self._life.on(event, self._clock(), why, time.time())
        self._log(before, step, why)
        if step.load:
            self._begun += 1
            self._condition.notify_all()
            try:
                threading.Thread(target=self._load, args=(self._begun,), name=f"load-{self.name}", daemon=True).start()
            except RuntimeError as exc:  # no further threads for this user, or in this container
                self._land_failed(self._begun, exc)

    def _log(self, before: str, step: Step, why: str) -> None:
        if step.state == FAILED and before != FAILED:
            return  # told with its traceback
        if step.state != before or step.show:
            logger.info("model %s is %s%s", self.name, step.state, f": {why}" if why else "")
        elif step.load:
            logger.info("model %s is loaded anew beside the one that serves: %s", self.name, why)

    def _load(self, number: int) -> None:
        self._changed()
        started = self._clock()
        fresh: Leased | None = None
        try:
            with heard_by(self.hear):
                self._work.fetch()
            with self._work.room():
                with heard_by(self.hear):  # what a library downloads by itself
                    fresh = self._work.make()
                fresh.successor = self.wait
                with self._condition:
                    self._on(lifecycle.MADE, "")
                self._changed()
                found = self._work.warm(fresh)
            leaver = self._land(fresh, number, self._clock() - started, found)
            fresh = None
        except BaseException as exc:  # SystemExit of a factory must not be silence
            with self._condition:
                self._land_failed(number, exc)
            leaver = None
        self._changed()
        if fresh is not None:
            drain(self.name, fresh)
        self._drain(leaver)

    def _land(self, fresh: Leased, number: int, seconds: float, found: str) -> Leased | None:
        """The new object serves; the one to let go of."""
        with self._condition:
            self._work.show(fresh)  # an adapter has its say in this: should it fail, nothing has changed
            leaver, self.served = self.served, fresh
            self.seconds = seconds
            self._on(lifecycle.WARM, f"{'replaced' if leaver else 'loaded'} in {seconds:.1f} s{found}")
            self._land_at(number)
        return leaver

    def _land_failed(self, number: int, exc: BaseException) -> None:
        failure, before = Setback.of(number, self.name, exc), self._failure
        self._failure = failure
        self._on(lifecycle.BROKE, failure.reason)
        self._land_at(number)
        goes_on = "; the one that serves goes on" if self.served is not None else ""
        trace = "" if (before.flight, before.reason) == (number - 1, failure.reason) else f"\n{failure.trace}".rstrip()
        logger.error("%s%s%s", failure.reason, goes_on, trace)

    def _land_at(self, number: int) -> None:
        self._landed = number
        self._condition.notify_all()
