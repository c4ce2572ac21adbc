"""How calls of a loaded model come to run, and whether its adapter can batch them."""

from __future__ import annotations

import inspect
import logging
import threading
from collections.abc import Sequence
from functools import partial
from typing import Any

from sharedmodel.call import Call

from .kinds import DETAILS
from .lease import Leased
from .scheduling.batching import Batching, Request
from .scheduling.calls import CallJob, Schedule
from .scheduling.lanes import Lanes
from .scheduling.settings import MANY
from .settings import ModelSettings

logger = logging.getLogger("sharedmodel.host")


def schedule_of(served: Leased, settings: ModelSettings, *, batches: bool) -> Schedule:
    """The schedule of a loaded model. ``batches``: whether calls may run together where its settings say so."""
    methods = served.exposed if settings.kind is None else DETAILS[settings.kind].runs
    batching = _batching(served, settings) if batches and settings.scheduling.max_batch > 1 else None
    if settings.scheduling.lanes < MANY and any(_streams(served.obj, name) for name in methods):
        served.gate = threading.Semaphore(settings.scheduling.lanes)
    lanes = Lanes(served.ident, settings.scheduling, batching, lease=Lent(served))
    return Schedule(served, lanes, methods, batching)


class Lent:
    """A loaded object as its lanes have it: calls that they don't get to before it is let go of go to its successor.

    Streams go on after their call has left its lane: their items count as runs, where there are any.
    """

    def __init__(self, leased: Leased) -> None:
        self._leased = leased
        gate = leased.gate
        self.enter = leased.enter if gate is None else partial(self._enter, gate)
        self.leave = leased.leave if gate is None else partial(self._leave, gate)

    def _enter(self, gate: threading.Semaphore) -> bool:
        gate.acquire()
        entered = self._leased.enter()
        if not entered:
            gate.release()
        return entered

    def _leave(self, gate: threading.Semaphore) -> None:
        self._leased.leave()
        gate.release()

    def pass_on(self, jobs: Sequence[CallJob]) -> None:
        """The successor may have to be loaded first: no lane waits for that, no watch runs, and one thread for all."""
        calls = [job.leave_lanes() for job in jobs]
        calls[0].peer.patiently(lambda: self._follow(calls))

    def _follow(self, calls: list[Call]) -> None:
        try:
            schedule = self._leased.successor().schedule
            assert schedule is not None
            turn = schedule.admit(*calls)
        except Exception as exc:
            for call in calls:
                call.fail(exc)
        else:
            if turn is not None:
                turn.work()


class Together:
    """An adapter's batching, by which its object is used."""

    def __init__(self, leased: Leased, batching: Batching) -> None:
        self._leased = leased
        self._batching = batching
        self.measure = batching.measure

    def run(self, requests: Sequence[Request]) -> list[Any]:
        self._leased.used = self._leased.clock()
        return self._batching.run(requests)


def _streams(obj: Any, method: str) -> bool:
    return inspect.isgeneratorfunction(inspect.unwrap(getattr(obj, method, _streams)))


def _batching(served: Leased, settings: ModelSettings) -> Batching | None:
    offers = getattr(served.obj, "batching", None) if settings.kind is not None else None
    batching: Batching | None = None if offers is None else offers()
    if batching is None:
        logger.warning("model %s has max_batch, but its calls can't run together: each runs alone", served.ident)
        return None
    return Together(served, batching)
