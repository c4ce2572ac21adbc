"""On which thread a call runs.

    quick      on the thread that has the loop, which goes on with it afterwards: no hop
    slow       on that thread too, which lends the loop meanwhile (see `loop`)

A method is quick when its last runs took less than 0.2 ms. One that is not, this time (it blocks, it waits for a
lock), does not stop the host: the loop is lent within milliseconds all the same.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from . import reply
from .call import Call
from .loop import GO_ON, Loop
from .objects import Objects, Schedule, Served, Turn
from .outlet import BACKLOG_MOST
from .standby import Standby
from .wire import CONTROL
from .workers import Workers

QUICK: Final = 200e-6

logger = logging.getLogger("sharedmodel")


class Turns:
    """Gives calls to where they run."""

    def __init__(
        self,
        objects: Objects,
        control: Served,
        workers: Workers,
        patient: Workers,
        standby: Standby,
        serve: Callable[[], int],
    ) -> None:
        """``control`` is the object that stands for the host itself. ``patient``: threads that wait for a model.

        ``serve`` serves what is ready and dispatches its calls, as long as `dispatch` says GO_ON.
        """
        self.calls: deque[Call] = deque()  # to be dispatched
        self.gathered: dict[Served, list[Call]] = {}  # calls that may run together, by their object
        self.loop = Loop(workers, standby, serve, (self.calls, self.gathered))
        self._objects = objects
        self._control = control
        self._patient = patient

    def dispatch(self, call: Call) -> int:
        """Run a call here or on a worker. What has become of the loop meanwhile."""
        outlet = call.peer.outlet
        if (outlet.gone or outlet.unsent >= BACKLOG_MOST) and outlet.park(call):
            return GO_ON
        try:
            served = self._control if call.ident == CONTROL else self._objects.get(call.ident)
        except KeyError as exc:
            self._await_object(call, exc)
            return GO_ON
        turn = None
        if (schedule := served.schedule) is not None and call.method in schedule.methods:
            if schedule.gathers:
                self.gathered.setdefault(served, []).append(call)
                return GO_ON
            turn = _admitted(schedule, call)
            if turn is None:
                return GO_ON
        pace = served.pace.get(call.method, 1.0)
        if pace > QUICK or call.problem is not None or not (turn is None or turn.at_once):
            return self._aside(call, served, turn)
        return self._inline(call, served, turn)

    def settle(self) -> int:
        """Run what has been gathered, here or on workers. What has become of the loop meanwhile."""
        while self.gathered:
            served, calls = self.gathered.popitem()
            schedule = served.schedule
            assert schedule is not None
            turn = _admitted(schedule, *calls)
            if turn is None:
                continue
            take = self._inline if schedule.brief and turn.at_once else self._aside
            if after := take(calls[0], served, turn):
                return after
        return GO_ON

    def run_here(self, call: Call) -> None:
        """Run a call on this thread, which is a worker's."""
        if call.peer.outlet.park(call):
            return
        try:
            served = self._control if call.ident == CONTROL else self._objects.get(call.ident)
        except KeyError as exc:
            self._await_object(call, exc)
        else:
            _run(call, served)

    def _await_object(self, call: Call, exc: KeyError) -> None:
        """A call to a name that is still loading waits for it; any other unknown object is an error."""
        wait = self._objects.announced(call.ident)
        if wait is None:
            call.fail(exc)
            return

        def then() -> None:
            reply.current.call = call  # it may not wait for longer than its caller does
            try:
                served = wait()
            except Exception as why:
                call.fail(why)
            else:
                _run(call, served)
            finally:
                reply.current.call = None

        self._patient.submit(then)

    def _aside(self, call: Call, served: Served, turn: Turn | None) -> int:
        claims = self.loop.lend()
        method = call.method
        took = _worked(call, served, turn)
        del call
        _note(served, method, took)
        return self.loop.take_back(claims)

    def _inline(self, call: Call, served: Served, turn: Turn | None) -> int:
        self.loop.enter(call)
        took = _worked(call, served, turn)
        after = self.loop.leave(call)
        _note(served, call.method, took)
        return after


def _worked(call: Call, served: Served, turn: Turn | None) -> float:
    """Run a call, or work a turn off. The seconds that the call's method ran, 0 if it ran elsewhere.

    Raises nothing: whoever has lent the loop, or may have, has yet to see whether it is still his.
    """
    try:
        if turn is not None:
            return turn.work()
        start = time.perf_counter()
        call.run(served)
        return time.perf_counter() - start
    except Exception:
        logger.exception("a fault in the host, beside a call of %s", served.ident)
        return 0.0


def _run(call: Call, served: Served) -> None:
    """Run a call on this thread, or have it wait for its turn."""
    schedule = served.schedule
    if schedule is None or call.method not in schedule.methods:
        call.run(served)
    elif (turn := _admitted(schedule, call)) is not None:
        turn.work()


def _admitted(schedule: Schedule, *calls: Call) -> Turn | None:
    try:
        return schedule.admit(*calls)
    except Exception as exc:
        logger.exception("a fault in the host, as it took calls in")
        for call in calls:
            call.fail(exc)
        return None


def _note(served: Served, method: str, took: float) -> None:
    if not took or method not in served.exposed:
        return  # another thread ran it; or a name that the client made up
    pace = served.pace.get(method, 1.0)
    # Slow at once, quick only after several quick runs.
    served.pace[method] = took if took > pace or pace >= 1.0 else pace + (took - pace) / 4
