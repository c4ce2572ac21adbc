"""How calls of a loaded model come to run, and whether its adapter can batch them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from .kinds import DETAILS
from .lease import Leased, Retired
from .scheduling.batching import Batching, Request, each_alone
from .scheduling.calls import Schedule
from .scheduling.lanes import Lanes
from .settings import ModelSettings

logger = logging.getLogger("sharedmodel.host")


def schedule_of(served: Leased, settings: ModelSettings, *, batches: bool) -> Schedule:
    """The schedule of a loaded model. ``batches``: whether calls may run together where its settings say so."""
    methods = served.exposed if settings.kind is None else DETAILS[settings.kind].runs
    batching = _batching(served, settings) if batches and settings.scheduling.max_batch > 1 else None
    return Schedule(served, Lanes(served.ident, settings.scheduling, batching), methods, batching)


class Together:
    """An adapter's batching for as long as its object is lent; afterwards each call goes to the object that follows."""

    def __init__(self, leased: Leased, batching: Batching) -> None:
        self._leased = leased
        self._batching = batching
        self.measure = batching.measure

    def run(self, requests: Sequence[Request]) -> list[Any]:
        try:
            with self._leased.held():
                self._leased.used = self._leased.clock()
                return self._batching.run(requests)
        except Retired:
            return each_alone(requests, self._one)

    def _one(self, request: Request) -> Any:
        return self._leased.method(request.method)(*request.args, **request.kwargs)


def _batching(served: Leased, settings: ModelSettings) -> Batching | None:
    offers = getattr(served.obj, "batching", None) if settings.kind is not None else None
    batching: Batching | None = None if offers is None else offers()
    if batching is None:
        logger.warning("model %s has max_batch, but its calls can't run together: each runs alone", served.ident)
        return None
    return Together(served, batching)
