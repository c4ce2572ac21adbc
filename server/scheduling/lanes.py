"""Runs the jobs of one model, some at once, on the threads that bring them: there is no dispatcher.

    lane = lanes.admit(*jobs)   they wait, or were refused: None, and this thread is free again
    if lane: lanes.work(lane)   this thread is the lane's: it runs the jobs, then whatever waits

An idle model runs jobs on the thread that brought them, past the queue if all of them fit into one run. While
something waits, every lane has a thread, because whoever brings a job takes a free lane; a lane whose jobs wait
for others to be batched with sleeps until there are enough of them or they have waited long enough.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Generic, TypeVar

from sharedmodel.errors import Cancelled, DeadlineExceeded, Overloaded, SharedModelError

from .batch import fit
from .batching import Batching, run_together
from .counts import Counts, Observer, Turned
from .job import Job, Lease
from .lobby import Lobby
from .policy import Why
from .settings import Scheduling

J = TypeVar("J", bound=Job)

_DRAINED: Final = 1.0  # seconds to try again after at a model that is being replaced

logger = logging.getLogger("sharedmodel.host")


class Lane(Generic[J]):
    """One of the runs that there may be at once. ``jobs``: what it runs, ``since`` when."""

    __slots__ = ("jobs", "since", "waited")

    def __init__(self, jobs: Sequence[J], since: float) -> None:
        self.jobs = jobs
        self.since = since
        self.waited = 0.0


class Lanes(Generic[J]):
    """The lanes of one model and the queue before them. Thread-safe.

    ``batching`` runs several jobs as one; without it jobs must have no key. ``lease``: what they are run on.
    ``clock`` is the one that deadlines are on.
    """

    def __init__(
        self,
        name: str,
        settings: Scheduling | None = None,
        batching: Batching | None = None,
        *,
        lease: Lease[J] | None = None,
        observer: Observer | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.settings = settings = settings or Scheduling()
        self.observer = observer
        self._batching = batching
        self._lease = lease
        self._clock = clock
        self._queue: Lobby[J] = Lobby(settings)
        self._lock = threading.Lock()
        self._more = threading.Condition(self._lock)  # lanes that wait for jobs to batch with
        self._quiet = threading.Condition(self._lock)  # those who wait for the end of all jobs
        self._asleep = 0
        self._taken: set[Lane[J]] = set()
        self._patient = settings.max_wait > 0
        self._counts = Counts()
        self._draining = False

    def submit(self, job: J) -> None:
        """Take a job in and run it here if a lane is free. Raises nothing: errors are the job's."""
        lane = self.admit(job)
        if lane is not None:
            self.work(lane)

    @property
    def pace(self) -> float:
        """How many seconds a run took lately; 0 before the first."""
        return self._queue.pace.run

    def admit(self, *jobs: J) -> Lane[J] | None:
        """Take jobs in. Never waits. A lane must be given to `work`, on this thread or another."""
        with self._lock:
            now = self._clock()
            free = len(self._taken) < self.settings.lanes
            if free and not self._queue and not self._draining and self._at_once(jobs, now):
                return self._take_lane(jobs, now)
            refusals = [self._enqueue(job, now) for job in jobs]
            lane = self._take_lane((), now) if free and None in refusals else None
            if lane is None and self._asleep and self._queue.ready(now):
                self._more.notify()
            dead = self._queue.reap(now)
        for job, refusal in zip(jobs, refusals, strict=True):
            if refusal is None:
                job.queued(partial(self.withdraw, job))
            else:
                self._turn_away(job, refusal, "refused")
        self._bury(dead)
        return lane

    def work(self, lane: Lane[J]) -> None:
        """Run what the lane has, and then what waits, until nothing does."""
        try:
            while lane.jobs or self._next(lane):
                self._run_leased(lane.jobs)
                if not self._ended(lane):
                    return
        except BaseException:  # an interrupt of this thread: the lane must not be lost with it
            with self._lock:
                self._leave(lane)
            raise

    def withdraw(self, job: J) -> None:
        """Its caller gave up: fail a job that waits. One that runs or has ended is left alone."""
        with self._lock:
            waited = self._queue.withdraw(job)
            self._quiet.notify_all()
        if waited:
            self._turn_away(job, Cancelled("the call was cancelled before it ran"), "cancelled")

    def hurry(self) -> None:
        """From now on no job waits for others to be batched with."""
        with self._lock:
            self._queue.hurry()
            self._more.notify_all()

    def pass_on(self) -> None:
        """The lease has been let go of: whatever waits, and comes too late for it, is passed on."""
        self._batching = None  # which refers to what it was
        with self._lock:
            jobs = self._queue.waiting()
            for job in jobs:
                self._queue.withdraw(job)
            self._more.notify_all()
            self._quiet.notify_all()
        if jobs and self._lease is not None:
            self._lease.pass_on(jobs)

    def drain(self, timeout: float | None = None) -> bool:
        """Refuse new jobs and wait until all there are have ended; whether they have in time. Idempotent."""
        with self._lock:
            self._draining = True
            self._queue.hurry()
            self._more.notify_all()
            return self._quiet.wait_for(lambda: not self._queue and not self._taken, timeout)

    def running(self, now: float | None = None) -> list[tuple[J, float]]:
        """What runs, and for how many seconds it has."""
        with self._lock:
            at = self._clock() if now is None else now
            return [(job, at - lane.since) for lane in self._taken for job in lane.jobs]

    def counts(self) -> Counts:
        """What has been done so far, and what waits and runs now."""
        with self._lock:
            return self._counts.at(len(self._queue), sum(len(lane.jobs) for lane in self._taken))

    # -- in, the lock is held --------------------------------------------------------------------------

    def _at_once(self, jobs: Sequence[J], now: float) -> bool:
        """Whether they may run past the queue, in one run: there is nothing to be decided then."""
        for job in jobs:
            if job.cancelled or (job.deadline is not None and job.deadline <= now):
                return False  # the queue sorts it out
        first = jobs[0]
        if len(jobs) > 1 and not fit(jobs, self.settings):
            return False
        return not self._patient or first.key is None or sum([job.rows for job in jobs]) >= self.settings.max_batch

    def _enqueue(self, job: J, now: float) -> Overloaded | None:
        if self._draining:
            return Overloaded(f"model {self.name!r} is being unloaded or replaced", _DRAINED)
        retry_after = self._queue.offer(job, now)
        if retry_after is None:
            return None
        text = f"{len(self._queue)} calls of model {self.name!r} wait, as many as may"
        return Overloaded(f"{text}; try again in {retry_after:.2g} s", retry_after)

    # -- out -------------------------------------------------------------------------------------------

    def _next(self, lane: Lane[J]) -> bool:
        """Give the lane its next jobs, waiting for them if need be. False: it is free again."""
        while True:
            with self._lock:
                now = self._clock()
                batch = self._queue.take(now)
                dead = self._queue.reap(now)
                if batch.jobs:
                    lane.jobs, lane.since, lane.waited = batch.jobs, now, batch.waited
                    if self._asleep and self._queue.ready(now):  # who brought these woke one lane
                        self._more.notify()
                elif not dead and batch.again is None:
                    self._leave(lane)
                    return False
                elif not dead and batch.again is not None:
                    self._sleep(batch.again - now)
            self._bury(dead)
            if batch.jobs:
                return True

    def _sleep(self, seconds: float) -> None:
        self._asleep += 1
        try:
            self._more.wait(max(0.0, seconds))
        finally:
            self._asleep -= 1

    def _run_leased(self, jobs: Sequence[J]) -> None:
        if (lease := self._lease) is None:
            self._run(jobs)
        elif lease.enter():
            try:
                self._run(jobs)
            finally:
                lease.leave()
        else:
            lease.pass_on(jobs)

    def _run(self, jobs: Sequence[J]) -> None:
        if len(jobs) > 1 and (batching := self._batching) is not None:
            run_together(batching, jobs)
            return
        for job in jobs:
            try:
                job.run()
            except Exception as exc:
                logger.exception("a fault in a job of model %s", self.name)
                job.fail(exc)

    def _ended(self, lane: Lane[J]) -> bool:
        """Count a run; False where nothing waits, and the lane is free again."""
        with self._lock:
            took, size, waited = self._clock() - lane.since, len(lane.jobs), lane.waited
            lane.jobs = ()
            self._counts.batch(size, waited, took)
            self._queue.pace.note(size, took)
            if not (waiting := len(self._queue) > 0):
                self._leave(lane)
        if self.observer is not None:
            self._tell(lambda observer: observer.batch(size, waited, took))
        return waiting

    def _take_lane(self, jobs: Sequence[J], now: float) -> Lane[J]:
        lane: Lane[J] = Lane(jobs, now)
        self._taken.add(lane)
        return lane

    def _leave(self, lane: Lane[J]) -> None:
        lane.jobs = ()
        self._taken.discard(lane)
        if self._draining:
            self._quiet.notify_all()

    def _bury(self, dead: list[tuple[J, Why]]) -> None:
        for job, why in dead:
            self._turn_away(job, _ENDS[why](), why)

    def _turn_away(self, job: J, error: SharedModelError, why: Turned) -> None:
        with self._lock:
            self._counts.turned_away(why)
        try:
            job.fail(error)
        except Exception:
            logger.exception("a fault in a job of model %s", self.name)
        if self.observer is not None:
            self._tell(lambda observer: observer.turned_away(why))

    def _tell(self, news: Callable[[Any], None]) -> None:
        try:
            news(self.observer)
        except Exception:
            logger.exception("an observer of model %s failed", self.name)


_ENDS: Final[dict[str, Callable[[], SharedModelError]]] = {
    "expired": lambda: DeadlineExceeded("the call's deadline passed before it ran"),
    "cancelled": lambda: Cancelled("the call was cancelled before it ran"),
}
