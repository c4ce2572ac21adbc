"""The loop of a host, and which thread has it.

One thread serves what comes. Should it run a call that is slow it lends the loop, and whoever stands by takes it if
something comes meanwhile (see `standby`). Should a call be slow that was to be quick, the monitor sees the loop stand
still, and lends it within milliseconds. Who comes back to find that the loop is another's by then goes on as a mere
worker.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sized
from typing import Any, Final

from .standby import Standby
from .workers import Workers

_STANDSTILL: Final = 4e-3
_QUIET: Final = 25  # ticks of the monitor without a quick call, after which it sleeps until there is one
_AFTER_FAULT: Final = 0.05
# In a row, after which it ends: a model's native code may have closed descriptors that are not its own.
_FAULTS: Final = 100
# What has become of the loop when a call is done: the events at hand are still to be served; others may have served
# them meanwhile, and a number among them may be another session's by now; or it is another thread's.
GO_ON, ANEW, LOST = range(3)
_LONGEST: Final = 5.0  # seconds after which a loop that is lent is taken, even if nothing has come

logger = logging.getLogger("sharedmodel")


class Loop:
    """Gives the loop to threads. `stopped` ends all of it."""

    def __init__(
        self, workers: Workers, standby: Standby, serve: Callable[[], int], at_hand: tuple[Sized, ...] = ()
    ) -> None:
        """``serve`` serves what is ready, as long as what it runs leaves GO_ON.

        ``at_hand`` is where it keeps what was read already, so that nothing would tell of it.
        """
        self.stopped = threading.Event()
        self.lap = 0  # grows with each call
        self._workers = workers
        self._standby = standby
        self._serve = serve
        self._at_hand = at_hand
        self._lock = threading.Lock()
        self._lent = False  # whoever comes first may take it
        self._claims = 0  # how often somebody has
        self._standing_by = False  # a thread does, or will in a moment
        self._running: Any = None
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
        self._standby.end()

    @property
    def others(self) -> bool:
        """Whether threads are at work besides the one that has the loop."""
        return self._workers.busy > 1 + self._standing_by

    # -- for the thread that has it ------------------------------------------------------------------

    def lend(self) -> int:
        """This thread is going to be busy: whoever stands by may have it. A number for `take_back`."""
        self.lap += 1
        if any(self._at_hand):
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

    def take_back(self, claims: int) -> int:
        """This thread is free again. What has become of the loop."""
        with self._lock:
            untouched = self._claims == claims
            mine = self._claimed()
        if not mine:
            return LOST
        self._standby.dismiss()
        return GO_ON if untouched else ANEW

    def enter(self, what: Any) -> None:
        """This thread runs something quick, with the loop; it must `leave` with the same object."""
        self.lap += 1
        self._started = time.perf_counter()
        if self._sleeps:
            self._wake.set()
        self._running = what

    def leave(self, what: Any) -> int:
        """It is done. What has become of the loop."""
        with self._lock:
            mine = self._running is what
            if mine:
                self._running = None
        return GO_ON if mine else self.take_back(-1)

    # -- threads -------------------------------------------------------------------------------------

    def _lead(self) -> None:
        """Run the loop on this thread, until the service stops or another thread has been given it."""
        faults, known = 0, ""
        while not self.stopped.is_set():
            try:
                if self._serve() == LOST:
                    return
                faults = 0
            except Exception as exc:
                faults += 1
                if self.stopped.wait(_AFTER_FAULT):  # a fault of ours must neither end the loop nor spin it
                    return
                if repr(exc) != known:
                    logger.exception("a fault in the host's loop; it goes on")
                known = repr(exc)
                if faults == _FAULTS:
                    logger.critical("nothing can be served any more, the host ends: %s", known)
                    self.stop()

    def _claimed(self) -> bool:
        """Take the loop, if it is lent. The lock is held."""
        mine, self._lent = self._lent, False
        self._claims += mine
        return mine

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
        """Lend the loop when the thread that has it stands still in a method.

        There is nothing to see where all calls are slow, for which the loop is lent at once: it sleeps then, since
        each of its ticks takes a processor from a model's run for 15 µs, and that run's other threads wait.
        """
        started, quiet = -1.0, 0
        while not self.stopped.is_set():
            quiet = quiet + 1 if self._started == started and self._running is None else 0
            started = self._started
            if quiet > _QUIET:
                self._sleep_until(started)
                quiet = 0
            time.sleep(_STANDSTILL)
            with self._lock:
                late = self._running is not None and time.perf_counter() - self._started > _STANDSTILL
                if late:
                    self._running = None
            if late:
                self.lend()

    def _sleep_until(self, started: float) -> None:
        """Until a quick call has begun since that which began at ``started``."""
        self._wake.clear()
        self._sleeps = True
        if self._started == started:  # a call that began before the flag was up would not have woken us
            self._wake.wait()
        self._sleeps = False
