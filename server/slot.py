"""One model of a host: carries out on threads what `lifecycle` decides.

Any number of callers may ask at once; one load runs, on a thread of its own, and holds no lock. An object
that is let go of is drained by whoever let go of it, off the lock as well.

A load can't be ended from outside. One that nobody wants any more is abandoned: it has its thread and its
memory until it is over, which may be never, and what comes of it is closed. Loads are numbered:

    abandoned ≤ `_over`      its thread asks `_go_on` where it can
    the one under way        `_begun`, where `busy`
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, NamedTuple

from sharedmodel import deadlines, reply
from sharedmodel.errors import Cancelled, DeadlineExceeded, UnknownObject
from sharedmodel.failure import words_of

from . import lifecycle
from .drain import close, drain
from .lease import Leased
from .lifecycle import FAILED, RELOAD, UNLOAD, Life, Step
from .progress import Progress, heard_by
from .setback import Setback, brief

HUNG: Final = 10.0  # seconds after which a load that is under way is not waited for by a reload

logger = logging.getLogger("sharedmodel.host")


class Work(NamedTuple):
    """What a slot has done for it."""

    make: Callable[[], Leased]
    warm: Callable[[Leased], str] = lambda leased: ""  # raises unless it is fit to serve; what it found
    show: Callable[[Leased], None] = lambda leased: None  # from now on calls go to it
    hide: Callable[[], None] = lambda: None  # calls wait from now on
    # It is made and warmed in it. May refuse; what it is given raises where the load is not wanted any more.
    room: Callable[[Callable[[], None]], AbstractContextManager[None]] = lambda go_on: nullcontext()
    fetch: Callable[[], None] = lambda: None  # what may take long and needs no room yet: a download


class NotYet(Exception):
    """The model is still loading, and who asked wanted to know how far it is."""


class Abandoned(Exception):
    """The load is not wanted any more."""


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
        self._begun = self._landed = self._over = 0  # loads; landed: or failed, over: or abandoned
        self._begun_at = 0.0
        self._adrift = 0  # loads that were abandoned and are not over
        self._failure = Setback(0)
        self._progress: Progress | None = None
        self._over_for_good = ""  # why

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
            if not self._over_for_good:
                self._on(lifecycle.WANT, why)

    @property
    def retry_at(self) -> float:
        """When `retry` should be called, which loads what has failed; NEVER where nothing has."""
        return self._life.retry_at

    def retry(self, why: str = "tried again") -> None:
        """Begin to load once more what has failed, be it a moment ago."""
        with self._condition:
            if self.state == FAILED:
                self._on(RELOAD, why)

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
                if self._over_for_good and not self.busy:
                    raise UnknownObject(f"no model {self.name!r} here any more: {self._over_for_good}")
                self._on(lifecycle.WANT, why)
                if self.state == FAILED:
                    raise self._failure.error()
                number = self._begun
                if not self._condition.wait_for(lambda: self._over >= number, deadlines.left(end)):  # noqa: B023
                    raise (NotYet if early else DeadlineExceeded)(self._not_yet())
                if self.served is None and self._failure.flight == number:
                    raise self._failure.error()
                # Else it was abandoned, or unloaded at once, before this thread woke: the call is owed an object
                # all the same.
            return self.served

    def reload(self, why: str = "reloaded on request", *, at_once: bool = False) -> None:
        """A new object in the place of the old one. No call fails: those that run end where they began.

        A load under way is waited for, since it may have read what has changed since; once it has taken as long as
        HUNG, or ``at_once``, it is abandoned. Returns as well when the model is unloaded meanwhile. Raises LoadFailed
        when the new object does not come about; then the old one goes on. DeadlineExceeded and Cancelled where its
        caller does not wait so long.
        """
        end = deadlines.after(reply.time_left())
        with self._condition:
            number = self._begun + 1
            patience = 0.0 if at_once else max(0.0, self._begun_at + HUNG - self._clock())
            self._await(lambda: self._begun >= number or not self.busy, end, patience)
            if self._begun < number:
                self._on(RELOAD, why)
            self._await(lambda: self._landed >= number or not self.busy, end)
            if self._failure.flight == self._landed >= number:
                raise self._failure.error()

    def _await(self, come: Callable[[], bool], end: float | None, patience: float | None = None) -> None:
        """Under the lock; not for longer than ``patience``. What its caller has given up meanwhile is not begun."""
        left = deadlines.left(end)
        early = patience is not None and (left is None or patience < left)
        if not self._condition.wait_for(come, patience if early else left) and not early:
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

    def unload(
        self,
        why: str = "unloaded on request",
        only: Leased | None = None,
        *,
        if_idle: bool = False,
        when_landed: bool = False,
    ) -> None:
        """Let the object go; the next call loads another. Returns when it is gone, its last call ended, and so is
        any that it replaced.

        A load under way is abandoned; ``when_landed``: waited for. With ``only``, so too, and the object stays if
        it has been replaced meanwhile, or with ``if_idle`` while it is about to be. Raises DeadlineExceeded where its
        caller does not wait so long.
        """
        end = deadlines.after(reply.time_left())
        with self._condition:
            if when_landed or (only is not None and not if_idle):
                self._await(lambda: not self.busy, end)
            if only is not None and (self.served is not only or self.busy):
                return
            leaver, self.served = self.served, None
            self._on(UNLOAD, why)
            if leaver is not None:
                self._work.hide()
        self._changed()
        self._drain(leaver, why)
        with self._condition:
            if not self._condition.wait_for(lambda: if_idle or not self.leaving, deadlines.left(end)):
                raise DeadlineExceeded(
                    f"model {self.name!r} is not gone yet: calls run in it still, and it goes when they have ended"
                )

    def end(self, why: str) -> None:
        """The last unload: when a load under way has landed, and nothing is loaded again."""
        with self._condition:
            self._over_for_good = why
        self.unload(why, when_landed=True)

    def forgive(self, why: str) -> None:
        """What has failed is tried again by the next call, however short a time ago that was."""
        with self._condition:
            if self.state == FAILED and not self.busy:
                self._on(UNLOAD, why)
        self._changed()

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
        if self._adrift:
            told["abandoned"] = self._adrift
        if (progress := self._progress) is not None:
            told["progress"] = progress.plain()
        return told | {"seconds": round(self.seconds, 3)}

    # -- loading ---------------------------------------------------------------------------------------

    def _on(self, event: str, why: str) -> None:
        """Take an event in, under the lock."""
        why = brief(why)
        before, busy = self.state, self.busy
        step = self._life.on(event, self._clock(), why, time.time())
        self._log(before, step, why)
        if busy and event in (RELOAD, UNLOAD):
            self._abandon(why)
        if step.load:
            self._begun += 1
            self._begun_at = self._clock()
            self._condition.notify_all()
            try:
                threading.Thread(target=self._load, args=(self._begun,), name=f"load-{self.name}", daemon=True).start()
            except RuntimeError as exc:  # no further threads for this user, or in this container
                self._land_failed(self._begun, exc)

    def _abandon(self, why: str) -> None:
        self._over = self._begun
        self._adrift += 1
        self._progress = None
        self._condition.notify_all()
        ran = self._clock() - self._begun_at
        logger.warning(
            "model %s: a load is abandoned after %.1f s (%s); it keeps its thread and its memory until it is over",
            self.name, ran, why,
        )  # fmt: skip

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
        leaver: Leased | None = None
        abandoned = False

        def hear(progress: Progress | None) -> None:
            if number > self._over:
                self.hear(progress)

        try:
            with heard_by(hear):
                self._work.fetch()
            with self._work.room(lambda: self._go_on(number)):
                self._go_on(number)
                with heard_by(hear):  # what a library downloads by itself
                    fresh = self._work.make()
                fresh.successor = self.wait
                with self._condition:
                    self._go_on(number)
                    self._on(lifecycle.MADE, "")
                self._changed()
                found = self._work.warm(fresh)
                self._go_on(number)  # within: what it took says nothing of the model that is wanted now
            leaver = self._land(fresh, number, self._clock() - started, found)
            fresh = None
        except BaseException as exc:  # SystemExit of a factory must not be silence
            with self._condition:
                abandoned = number <= self._over
                if not abandoned:
                    self._land_failed(number, exc)
            if abandoned and not isinstance(exc, Abandoned):
                logger.info("model %s: the load that was abandoned has failed: %s", self.name, brief(words_of(exc)))
        self._changed()
        if fresh is not None:
            drain(self.name, fresh)
        if abandoned:
            self._ashore(self._clock() - started)
        self._drain(leaver)

    def _go_on(self, number: int) -> None:
        """Raises Abandoned."""
        if number <= self._over:
            raise Abandoned

    def _ashore(self, seconds: float) -> None:
        with self._condition:
            self._adrift -= 1
        logger.info("model %s: the load that was abandoned is over, after %.1f s", self.name, seconds)
        self._changed()

    def _land(self, fresh: Leased, number: int, seconds: float, found: str) -> Leased | None:
        """The new object serves; the one to let go of."""
        with self._condition:
            self._go_on(number)
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
        self._landed = self._over = number
        self._condition.notify_all()
