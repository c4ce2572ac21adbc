"""Who has the loop, and on which thread a call runs.

    quick      on the thread that has the loop, which goes on with it afterwards: no hop
    slow       on that thread too, and another is given the loop first
    standing   it was to be quick, and is not: the monitor gives the loop to another thread

A method is quick when its last runs took less than 0.2 ms. One that is not, this time (it blocks, it
waits for a lock), does not stop the host: the monitor sees the loop stand still, gives it to another
thread within milliseconds, and the first thread goes on as a mere worker.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from . import reply
from .call import Call
from .objects import Objects, Served, Turn
from .outlet import BACKLOG_MOST
from .wire import CONTROL
from .workers import Workers

QUICK: Final = 200e-6
STANDSTILL: Final = 4e-3
_QUIET: Final = 25  # ticks of the monitor without a call, after which it sleeps until there is one
_AFTER_FAULT: Final = 0.05

logger = logging.getLogger("sharedmodel")


class Turns:
    """Gives the loop to threads, and calls to where they run. `stopped` ends all of it."""

    def __init__(self, objects: Objects, control: Served, workers: Workers, serve: Callable[[], bool]) -> None:
        """``control`` is the object that stands for the host itself.

        ``serve`` serves what is ready and dispatches its calls; it returns False when `dispatch` did.
        """
        self.stopped = threading.Event()
        self.lap = 0  # grows with each call
        self._objects = objects
        self._control = control
        self._workers = workers
        self._serve = serve
        self._lock = threading.Lock()
        self._running: Call | None = None
        self._started = 0.0
        self._wake = threading.Event()
        self._sleeps = False

    def start(self) -> None:
        threading.Thread(target=self._monitor, name="sharedmodel-monitor", daemon=True).start()
        self._workers.submit(self._lead)

    def stop(self) -> None:
        """Let the threads end. Safe in a signal handler."""
        self.stopped.set()
        self._wake.set()

    # -- the loop ------------------------------------------------------------------------------------

    def _lead(self) -> None:
        """Run the loop on this thread, until the service stops or another thread has been given it."""
        while not self.stopped.is_set():
            try:
                if not self._serve():
                    return
            except Exception:
                if self.stopped.wait(_AFTER_FAULT):  # a fault of ours must neither end the loop nor spin it
                    return
                logger.exception("a fault in the host's loop")

    def _monitor(self) -> None:
        """Give the loop to another thread when the one that has it stands still in a method."""
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
                self._workers.submit(self._lead, urgent=True)

    def _sleep_until(self, lap: int) -> None:
        """Until the loop has gone on since ``lap``."""
        self._wake.clear()
        self._sleeps = True
        if self.lap == lap:  # a call that began before the flag was up would not have woken us
            self._wake.wait()
        self._sleeps = False

    # -- calls ---------------------------------------------------------------------------------------

    def dispatch(self, call: Call) -> bool:
        """Run a call here or on a worker. False when this thread has lost the loop meanwhile."""
        outlet = call.peer.outlet
        if (outlet.gone or outlet.unsent >= BACKLOG_MOST) and outlet.park(call):
            return True
        try:
            served = self._control if call.ident == CONTROL else self._objects.get(call.ident)
        except KeyError as exc:
            self._await_object(call, exc)
            return True
        turn = None
        if (schedule := served.schedule) is not None and call.method in schedule.methods:
            turn = schedule.admit(call)
            if turn is None:
                return True
        pace = served.pace.get(call.method, 1.0)
        if pace > QUICK or call.problem is not None or not (turn is None or turn.at_once):
            self.lap += 1
            # Another thread gets the loop, and this one the call: so no hop lies in the call's own way.
            self._workers.submit(self._lead, urgent=True)
            self._timed(call, served, pace, turn)
            return False
        return self._inline(call, served, pace, turn)

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

    def _timed(self, call: Call, served: Served, pace: float, turn: Turn | None) -> None:
        start = time.perf_counter()
        method = call.method
        if turn is None:
            call.run(served)
            took = time.perf_counter() - start
        else:
            took = turn.work()
        del call
        _note(served, method, took, pace)

    def _inline(self, call: Call, served: Served, pace: float, turn: Turn | None) -> bool:
        self.lap += 1
        if self._sleeps:
            self._wake.set()
        self._started = start = time.perf_counter()
        self._running = call
        if turn is None:
            call.run(served)
            took = time.perf_counter() - start
        else:
            took = turn.work()
        with self._lock:
            mine = self._running is call
            if mine:
                self._running = None
        _note(served, call.method, took, pace)
        return mine


def _run(call: Call, served: Served) -> None:
    """Run a call on this thread, or have it wait for its turn."""
    schedule = served.schedule
    if schedule is None or call.method not in schedule.methods:
        call.run(served)
    elif (turn := schedule.admit(call)) is not None:
        turn.work()


def _note(served: Served, method: str, took: float, pace: float) -> None:
    if not took or method not in served.exposed:
        return  # another thread ran it; or a name that the client made up
    # Slow at once, quick only after several quick runs.
    served.pace[method] = took if took > pace or pace >= 1.0 else pace + (took - pace) / 4
