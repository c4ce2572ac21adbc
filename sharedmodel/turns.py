"""Who has the loop, and on which thread a call runs.

    quick      on the thread that has the loop, which goes on with it afterwards: no hop
    slow       on that thread too; meanwhile another one, which stands by, takes the loop if something comes
    standing   it was to be quick, and is not: the monitor lends the loop

A method is quick when its last runs took less than 0.2 ms. One that is not, this time (it blocks, it
waits for a lock), does not stop the host: the monitor sees the loop stand still, and lends it
within milliseconds. Who comes back to find that the loop is another's by then goes on as a mere worker.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from . import reply
from .call import Call
from .objects import Objects, Served, Turn
from .outlet import BACKLOG_MOST
from .standby import Standby
from .wire import CONTROL
from .workers import Workers

QUICK: Final = 200e-6
STANDSTILL: Final = 4e-3
_QUIET: Final = 25  # ticks of the monitor without a call, after which it sleeps until there is one
_AFTER_FAULT: Final = 0.05
# What has become of the loop when a call is done: the events at hand are still to be served; others may have served
# them meanwhile, and a number among them may be another session's by now; or it is another thread's.
GO_ON, ANEW, LOST = range(3)
_LONGEST: Final = 5.0  # seconds after which a loop that is lent is taken, even if nothing has come

logger = logging.getLogger("sharedmodel")


class Turns:
    """Gives the loop to threads, and calls to where they run. `stopped` ends all of it."""

    def __init__(
        self, objects: Objects, control: Served, workers: Workers, standby: Standby, serve: Callable[[], int]
    ) -> None:
        """``control`` is the object that stands for the host itself.

        ``serve`` serves what is ready and dispatches its calls, as long as `dispatch` says GO_ON.
        """
        self.stopped = threading.Event()
        self.lap = 0  # grows with each call
        self.calls: deque[Call] = deque()  # to be dispatched
        self._objects = objects
        self._control = control
        self._workers = workers
        self._standby = standby
        self._serve = serve
        self._lock = threading.Lock()
        self._lent = False  # whoever comes first may take the loop
        self._claims = 0  # how often somebody has
        self._standing_by = False  # a thread does, or will in a moment
        self._running: Call | None = None
        self._started = 0.0
        self._wake = threading.Event()
        self._sleeps = False
        self.gathered: dict[Served, list[Call]] = {}  # calls that may run together, by their object

    def start(self) -> None:
        threading.Thread(target=self._monitor, name="sharedmodel-monitor", daemon=True).start()
        self._workers.submit(self._lead)

    def stop(self) -> None:
        """Let the threads end. Safe in a signal handler."""
        self.stopped.set()
        self._wake.set()
        self._standby.end()

    @property
    def others(self) -> bool:
        """Whether threads are at work besides the one that has the loop."""
        return self._workers.busy > 1 + self._standing_by

    # -- the loop ------------------------------------------------------------------------------------

    def _lead(self) -> None:
        """Run the loop on this thread, until the service stops or another thread has been given it."""
        while not self.stopped.is_set():
            try:
                if self._serve() == LOST:
                    return
            except Exception:
                if self.stopped.wait(_AFTER_FAULT):  # a fault of ours must neither end the loop nor spin it
                    return
                logger.exception("a fault in the host's loop")

    def _lend(self) -> int:
        """This thread is going to be busy: whoever stands by may have the loop. A number for `_take_back`."""
        if self.calls or self.gathered:  # read already, so that nothing would tell of them
            with self._lock:
                self._claims += 1
            self._workers.submit(self._lead, urgent=True)
            return -1
        with self._lock:
            self._lent = True
            claims = self._claims
            alone, self._standing_by = not self._standing_by, True
        if alone:
            self._workers.submit(self._stand_by, urgent=True)
        self._standby.call()
        return claims

    def _claimed(self) -> bool:
        """Take the loop, if it is lent. The lock is held."""
        mine, self._lent = self._lent, False
        self._claims += mine
        return mine

    def _take_back(self, claims: int) -> int:
        with self._lock:
            untouched = self._claims == claims
            mine = self._claimed()
        if not mine:
            return LOST
        self._standby.dismiss()
        return GO_ON if untouched else ANEW

    def _stand_by(self) -> None:
        """Wait for the loop to be lent, and for something to come; then run it."""
        while not self.stopped.is_set():
            self._standby.wait(_LONGEST)
            with self._lock:
                mine = self._claimed()
                self._standing_by = not mine
            if mine:
                self._lead()
                return

    def _monitor(self) -> None:
        """Lend the loop when the thread that has it stands still in a method."""
        lap, quiet = -1, 0
        while not self.stopped.is_set():
            quiet = quiet + 1 if self.lap == lap and self._running is None else 0
            lap = self.lap
            if quiet > _QUIET:
                self._sleep_until(lap)
                quiet = 0
            time.sleep(STANDSTILL)
            with self._lock:
                late = self._running is not None and time.perf_counter() - self._started > STANDSTILL
                if late:
                    self._running = None
            if late:
                self._lend()

    def _sleep_until(self, lap: int) -> None:
        """Until the loop has gone on since ``lap``."""
        self._wake.clear()
        self._sleeps = True
        if self.lap == lap:  # a call that began before the flag was up would not have woken us
            self._wake.wait()
        self._sleeps = False

    # -- calls ---------------------------------------------------------------------------------------

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
            turn = schedule.admit(call)
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
            turn = schedule.admit(*calls)
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
            served = self._objects.get(call.ident)
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

        self._workers.submit(then)

    def _aside(self, call: Call, served: Served, turn: Turn | None) -> int:
        self.lap += 1
        claims = self._lend()
        method = call.method
        took = _worked(call, served, turn)
        del call
        _note(served, method, took)
        return self._take_back(claims)

    def _inline(self, call: Call, served: Served, turn: Turn | None) -> int:
        self.lap += 1
        if self._sleeps:
            self._wake.set()
        self._started = time.perf_counter()
        self._running = call
        took = _worked(call, served, turn)
        with self._lock:
            mine = self._running is call
            if mine:
                self._running = None
        _note(served, call.method, took)
        return GO_ON if mine else self._take_back(-1)


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
    elif (turn := schedule.admit(call)) is not None:
        turn.work()


def _note(served: Served, method: str, took: float) -> None:
    if not took or method not in served.exposed:
        return  # another thread ran it; or a name that the client made up
    pace = served.pace.get(method, 1.0)
    # Slow at once, quick only after several quick runs.
    served.pace[method] = took if took > pace or pace >= 1.0 else pace + (took - pace) / 4
