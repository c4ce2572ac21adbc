"""Every call that a model of this host executes: noted for the time after a death, and watched over.

A call that runs longer than its model's `max_run` is stuck. First it is told to stop (as if its caller had
given up: a session of onnxruntime's then terminates its run); what does not end within a moment after
that can't be ended at all, and the whole host is replaced. Its caller has a `Stuck` error either way, and may
call again before the host is gone: what has not begun by then does not begin any more, or it would run twice.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from sharedmodel.call import NEVER, Call
from sharedmodel.errors import Stuck
from sharedmodel.server.scheduling.batching import serving

from .chore import Chore
from .journal import Journal

GRACE: Final = 1.0  # seconds in which what was told to stop may do so
BEAT: Final = 1.0

logger = logging.getLogger("sharedmodel.host")


class Run:
    """One call that is being executed."""

    __slots__ = ("call", "slot", "started", "told", "watch")

    def __init__(self, watch: Watch, call: Call | Chore, slot: int) -> None:
        self.watch = watch
        self.call = call
        self.slot = slot
        self.started = call.began = time.monotonic()
        self.told = False

    def ran(self, now: float) -> float:
        """For how many seconds. Of a batch that came to nothing each runs alone: none before its turn, nor after it."""
        call = self.call
        if not call.began or call.made < NEVER:
            return 0.0
        return now - max(self.started, call.began)


class Watch:
    """The calls of one model (see `sharedmodel.objects.Watch`)."""

    def __init__(self, guard: Guard, name: str, max_run: float | None) -> None:
        self.name = name
        self.max_run = max_run
        self._guard = guard
        simple = max_run is None and guard.turn is None
        self.left: Callable[[Any], None] = guard.journal.leave if simple else self._left

    def entered(self, call: Call) -> Run | int:
        """It is watched over only where it has a limit; else its slot in the journal is all there is to know."""
        guard = self._guard
        if guard.doomed:
            threading.Event().wait()  # for the end of this process: the next host's
        if guard.turn is not None:
            guard.turn.acquire()
        if self.max_run is None:
            slot = guard.journal.enter(call.peer.number, call.rid)
            call.began = time.monotonic()
            return slot
        run = Run(self, call, guard.journal.enter(call.peer.number, call.rid, time.monotonic() + self.max_run))
        guard.running[id(run)] = run
        return run

    def _left(self, token: Run | int) -> None:
        guard = self._guard
        if isinstance(token, Run):
            guard.running.pop(id(token), None)
            token = token.slot
        guard.journal.leave(token)
        if guard.turn is not None:
            guard.turn.release()

    @contextmanager
    def tending(self, method: str) -> Iterator[None]:
        """What runs within it on this thread is the host's own call of the model: no suspect, but bound by `max_run`.

        Raises Stuck where it was told to stop for that.
        """
        if self.max_run is None:
            yield
            return
        chore = Chore(method)
        journal = self._guard.journal
        run = Run(self, chore, journal.enter(0, 1, time.monotonic() + self.max_run))
        self._guard.running[id(run)] = run
        try:
            with serving(chore):
                yield
        except Exception as exc:
            raise (chore.condemned or exc) from exc
        finally:
            self._guard.running.pop(id(run), None)
            journal.leave(run.slot)


class Guard:
    """What the watches of a host share."""

    def __init__(self, journal: Journal, *, alone: bool) -> None:
        """``alone``: let one call in at a time."""
        self.journal = journal
        self.turn = threading.Lock() if alone else None
        self.running: dict[int, Run] = {}
        self.doomed = False  # the host is about to be replaced
        self._shortest = float("inf")
        self._starts: Callable[[], None] | None = None
        self._starting = threading.Lock()

    def watch(self, name: str, max_run: float | None) -> Watch:
        """The watch over one model."""
        if max_run is not None:
            self._shortest = min(self._shortest, max_run)
            self._begin()
        return Watch(self, name, max_run)

    def start(self, stuck: Callable[[str], None], beat: Callable[[], None]) -> None:
        """Look after what runs, on a thread of its own, from when there is something to be looked after.

        ``stuck`` is told of a call that does not end; ``beat`` is called once a second.
        """
        looker = threading.Thread(target=self._look, args=(stuck, beat), name="watchdog", daemon=True)
        with self._starting:
            self._starts = looker.start
        self._begin()

    def _begin(self) -> None:
        if self._shortest < float("inf"):
            with self._starting:
                start, self._starts = self._starts, None
            if start is not None:
                start()

    def _look(self, stuck: Callable[[str], None], beat: Callable[[], None]) -> None:
        next_beat = 0.0
        while True:
            now = time.monotonic()
            if now >= next_beat:
                next_beat = now + BEAT
                beat()
            for run in list(self.running.values()):
                self._examine(run, now, stuck)
            time.sleep(min(BEAT, self._shortest / 4))

    def _examine(self, run: Run, now: float, stuck: Callable[[str], None]) -> None:
        limit = run.watch.max_run
        assert limit is not None
        ran = run.ran(now)
        if ran > limit and not run.told:
            run.told = True
            what = f"{run.watch.name}.{run.call.method}() ran longer than its max_run, {limit:g} s"
            logger.error(
                "%s: it is told to stop", what, extra={} if isinstance(run.call, Chore) else {"call": run.call}
            )
            run.call.condemn(Stuck(what))
        elif ran > limit + GRACE and run.told and self.running.pop(id(run), None) is not None:  # it has not just ended
            what = f"{run.watch.name}.{run.call.method}() ran for {ran:.1f} s, its max_run is {limit:g} s"
            self.doomed = True  # before anybody is told
            run.call.condemned = Stuck(f"{what}; it could not be stopped, and its host is replaced")
            run.call.fail(run.call.condemned)
            stuck(what)
