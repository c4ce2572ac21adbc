"""A session's calls as jobs of a model's lanes.

turn = schedule.admit(*calls)   they wait, or were refused: None, and this thread is free again
if turn: seconds = turn.work()  this thread runs them, then whatever waits
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from sharedmodel.call import NEVER, Call
from sharedmodel.objects import Served

from .batching import Batching, Measure, Request
from .lanes import Lane, Lanes

_new: Final[Any] = tuple.__new__  # a NamedTuple's own is written in Python
_NOTHING: Final[Any] = ()
_SINGLE: Final = Measure(None)
BRIEF: Final = 2e-3


class Turn(NamedTuple):
    """A thread's turn at a model. ``at_once``: its calls run now; else it may first wait for others."""

    lanes: Lanes[CallJob]
    lane: Lane[CallJob]
    job: CallJob
    at_once: bool

    def work(self) -> float:
        """Run calls until none waits. The seconds that the method of the first ran, 0 if it ran elsewhere."""
        self.lanes.work(self.lane)
        return self.job.took


class Schedule:
    """How calls of one model's ``methods`` come to run; the others are none of its business.

    Where calls are let in one at a time (quarantine) there must be no ``batching``.
    """

    def __init__(
        self, served: Served, lanes: Lanes[CallJob], methods: Iterable[str], batching: Batching | None = None
    ) -> None:
        self.lanes = lanes
        self.methods = frozenset(methods)
        self.gathers = batching is not None
        self._served = served
        self._batching = batching
        self._passes_on = False

    @property
    def brief(self) -> bool:
        """Whether runs lately took less than two milliseconds."""
        return 0.0 < self.lanes.pace < BRIEF

    def admit(self, *calls: Call) -> Turn | None:
        """Take calls in; they are answered sooner or later. A turn must be worked off, here or on another thread."""
        jobs = [CallJob(call, self._served, self._batching, call.priority) for call in calls]
        lane = self.lanes.admit(*jobs)
        if lane is not None:
            return Turn(self.lanes, lane, jobs[0], bool(lane.jobs))
        if self._passes_on:  # looked at when they wait: see `pass_on`
            self.lanes.pass_on()
        return None

    def pass_on(self) -> None:
        """The object has been let go of: calls that wait, and those that still come, are for another (see `Lease`)."""
        self._batching, self.gathers = None, False
        self._passes_on = True  # before those that wait are looked for
        self.lanes.pass_on()


class CallJob:
    """One call of one method of a model; see `job.Job`.

    ``took`` is how many seconds its method ran alone, once it has.
    """

    took = 0.0
    _begun = False
    _token: Any = None

    def __init__(self, call: Call, served: Served, batching: Batching | None = None, priority: int = 0) -> None:
        fit, method = _SINGLE, call.method
        plain = method in served.exposed and method not in served.method_to_typeid  # its result is sent as it is
        if batching is not None and plain and call.problem is None:
            fit = batching.measure(method, call.args, call.kwargs) or _SINGLE
        self.call = call
        self.client = call.peer
        self.served = served
        self.deadline = call.deadline
        self.key, self.rows, self.length = fit
        self.priority = priority

    @property
    def cancelled(self) -> bool:
        return self.call.cancelled

    def queued(self, withdraw: Callable[[], None]) -> None:
        """Hear of it when the caller gives up."""
        self.call.waits(withdraw)
        if self._begun:  # meanwhile, on another thread, which may have looked before there was anything
            self.call.withdraw = None

    def run(self) -> None:
        self._begin()
        start = time.perf_counter()
        self.call.run(self.served)
        self.took = time.perf_counter() - start

    def leave_lanes(self) -> Call:
        """The call, which has not begun: it is another's from now on."""
        self._begin()
        return self.call

    def request(self) -> Request:
        self._begin()
        call, watch = self.call, self.served.watch
        if watch is not None:
            self._token = watch.entered(call)
        args, kwargs = call.args, call.kwargs
        call.args = call.kwargs = _NOTHING
        request: Request = _new(Request, (call.method, args, kwargs, call))
        return request

    def answer(self, value: Any) -> None:
        call = self.call
        if call.made == NEVER:
            call.made = time.monotonic()
        try:
            data = call.peer.packed(call, value)
            del value  # an argument that came back is not kept by us when the answer tells what is kept
            call.peer.answer(call, data)
        except BaseException as exc:
            call.fail(exc)
        finally:
            self._leave()

    def fail(self, exc: BaseException) -> None:
        self._begin()
        try:
            self.call.fail(exc)
        finally:
            self._leave()

    def _leave(self) -> None:
        """The watch need not note it any longer, if it did."""
        watch, token, self._token = self.served.watch, self._token, None
        if watch is not None and token is not None:
            watch.left(token)

    def _begin(self) -> None:
        """It is not in the queue any more."""
        self._begun = True  # before the look: see `queued`
        self.call.withdraw = None
