"""Which event may come in which state of a model, and what follows. No threads, no clock, no model.

             want       reload     made      warm        broke       unload       drained      sick
absent       loading L  loading L  .         .           .           absent       .            .
loading      =          loading L  warming   .           failed      unloaded ?   =            .
warming      =          loading L  .         ready S     failed      unloaded ?   =            .
ready        =          ready L    =         ready S     ready       draining R   =            loading R L
draining     loading L  loading L  .         .           .           draining     unloaded ?   .
unloaded     loading L  loading L  .         .           .           unloaded     =            .
failed       loading ?  loading L  .         .           .           unloaded     =            .

L  begin to load, unless a load is under way: there is one at most, also while an older object serves
   (reload: the one under way is abandoned first, and so is it by unload)
S  show the new object; the one before it, if any, is let go of
R  let go of the object
=  nothing changes;  .  can't happen
?  failed: once the pause is over. unloaded: draining, until the last object that was let go of is gone

A reload of a ready model leaves it ready: the new object comes about beside the old one (`stage` tells how
far it is), and takes its place or is dropped. What becomes of a load that was abandoned is no event any more.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final, NamedTuple

from .rounds import NEVER

ABSENT: Final = "absent"
LOADING: Final = "loading"
WARMING: Final = "warming"
READY: Final = "ready"
DRAINING: Final = "draining"
UNLOADED: Final = "unloaded"
FAILED: Final = "failed"
STATES: Final = (ABSENT, LOADING, WARMING, READY, DRAINING, UNLOADED, FAILED)

WANT: Final = "want"  # somebody calls it, or it shall be loaded from the start
RELOAD: Final = "reload"  # whatever a load under way would come to
MADE: Final = "made"  # the new object is constructed
WARM: Final = "warm"  # and its canary has answered
BROKE: Final = "broke"  # one of the two went wrong
UNLOAD: Final = "unload"  # so too
DRAINED: Final = "drained"  # an object that was let go of is gone
SICK: Final = "sick"  # the canary of the object that serves has failed
EVENTS: Final = (WANT, RELOAD, MADE, WARM, BROKE, UNLOAD, DRAINED, SICK)

RETRY_AFTER: Final = 5.0  # seconds after a failed load in which calls are only told of it
RETRY_FIRST: Final = 30.0  # and until it is tried again without a call; doubled after each that fails, up to
RETRY_LAST: Final = 600.0
REMEMBERED: Final = 8


class Step(NamedTuple):
    """What follows an event: the next state, and what is to be done."""

    state: str
    load: bool = False
    show: bool = False
    release: bool = False


_LOAD: Final = Step(LOADING, load=True)
TABLE: Final[dict[tuple[str, str], Step]] = {
    (ABSENT, WANT): _LOAD,
    (ABSENT, RELOAD): _LOAD,
    (ABSENT, UNLOAD): Step(ABSENT),
    (LOADING, WANT): Step(LOADING),
    (LOADING, RELOAD): _LOAD,
    (LOADING, UNLOAD): Step(UNLOADED),
    (LOADING, MADE): Step(WARMING),
    (LOADING, BROKE): Step(FAILED),
    (LOADING, DRAINED): Step(LOADING),
    (WARMING, WANT): Step(WARMING),
    (WARMING, RELOAD): _LOAD,
    (WARMING, UNLOAD): Step(UNLOADED),
    (WARMING, WARM): Step(READY, show=True),
    (WARMING, BROKE): Step(FAILED),
    (WARMING, DRAINED): Step(WARMING),
    (READY, WANT): Step(READY),
    (READY, RELOAD): Step(READY, load=True),
    (READY, MADE): Step(READY),
    (READY, WARM): Step(READY, show=True, release=True),
    (READY, BROKE): Step(READY),
    (READY, UNLOAD): Step(DRAINING, release=True),
    (READY, DRAINED): Step(READY),
    (READY, SICK): Step(LOADING, load=True, release=True),
    (DRAINING, WANT): _LOAD,
    (DRAINING, RELOAD): _LOAD,
    (DRAINING, UNLOAD): Step(DRAINING),
    (DRAINING, DRAINED): Step(UNLOADED),
    (UNLOADED, WANT): _LOAD,
    (UNLOADED, RELOAD): _LOAD,
    (UNLOADED, UNLOAD): Step(UNLOADED),
    (UNLOADED, DRAINED): Step(UNLOADED),
    (FAILED, WANT): _LOAD,
    (FAILED, RELOAD): _LOAD,
    (FAILED, UNLOAD): Step(UNLOADED),
    (FAILED, DRAINED): Step(FAILED),
}


class Change(NamedTuple):
    """A state that was entered: when (seconds since the epoch) and why."""

    state: str
    at: float
    why: str


class Impossible(Exception):
    """An event that can't come in this state: a fault of whoever told of it."""


class Life:
    """The state of one model, and how it came to it."""

    def __init__(self, at: float = 0.0) -> None:
        self.state = ABSENT
        self.stage = ""  # of a load under way: loading or warming
        self.leaving = 0  # objects that were let go of and are not gone yet
        self.history: deque[Change] = deque([Change(ABSENT, at, "")], maxlen=REMEMBERED)
        self._failed_at = 0.0
        self._failures = 0  # loads in a row
        self._barred_until = 0.0

    def bar(self, until: float, why: str, at: float) -> None:
        """It has not been loaded, and shall count as failed until then."""
        self._barred_until = until
        self.history.append(Change(FAILED, at, why))
        self.state = FAILED

    @property
    def flying(self) -> bool:
        """Whether a load is under way."""
        return bool(self.stage)

    @property
    def retry_at(self) -> float:
        """When a failed model that nobody calls should be tried again; NEVER for any other."""
        if self.state != FAILED:
            return NEVER
        if not self._failures:
            return self._barred_until
        return self._failed_at + min(RETRY_LAST, RETRY_FIRST * 2.0 ** min(self._failures - 1, 30))

    def on(self, event: str, now: float, why: str = "", at: float = 0.0) -> Step:
        """Take an event in. ``now`` is of any steady clock, ``at`` of the wall's. Raises Impossible."""
        step = TABLE.get((self.state, event))
        if step is None or not self._may(event):
            raise Impossible(f"{event!r} while {self.state}, {self.stage or 'no load under way'}")
        if event == WANT and self.state == FAILED and now < max(self._failed_at + RETRY_AFTER, self._barred_until):
            return Step(FAILED)
        if event == DRAINED:
            self.leaving -= 1
        if self.leaving and step.state == UNLOADED:
            step = Step(DRAINING)
        if event not in (WANT, DRAINED, SICK):
            self.stage = WARMING if event == MADE else ""
        if step.load and self.flying:
            step = step._replace(state=self.stage if step.state == LOADING else step.state, load=False)
        elif step.load:
            self.stage = LOADING
        self.leaving += step.release
        self._count_failures(step, now)
        if step.state != self.state or step.show:
            self.history.append(Change(step.state, at, why))
        self.state = step.state
        return step

    def _count_failures(self, step: Step, now: float) -> None:
        if step.state == FAILED and self.state != FAILED:
            self._failed_at = now
            self._failures += 1
        elif step.show:
            self._failures = 0

    def _may(self, event: str) -> bool:
        if event == MADE:
            return self.stage == LOADING
        if event == WARM:
            return self.stage == WARMING
        if event == BROKE:
            return self.flying
        return event != DRAINED or self.leaving > 0

    def describe(self) -> dict[str, Any]:
        """The state, since when and why, and what came before, as plain data."""
        last = self.history[-1]
        told: dict[str, Any] = {"state": self.state, "since": round(last.at, 3), "why": last.why}
        told["history"] = [change._asdict() for change in list(self.history)]
        if self.state == READY and self.stage:
            told["replacement"] = self.stage
        if self.leaving:
            told["leaving"] = self.leaving
        return told
