"""One model in the care of a host: its settings, its slot, its canaries, the rounds that are made."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from sharedmodel import objects
from sharedmodel.errors import LoadFailed, Stuck
from sharedmodel.heap import trim

from . import making
from .canary import Canary, CanaryFailed
from .fetching import Fetching
from .lease import Leased, Retired
from .lifecycle import ABSENT, LOADING, WARMING
from .machine.governor import CPU
from .machine.seat import Seat
from .rounds import CANARY, EXPIRED, NEVER, REST, Rounds
from .scheduling.calls import Schedule
from .settings import ModelSettings
from .slot import Slot, Work
from .watch import Watch

logger = logging.getLogger("sharedmodel.host")

NO_CANARY: Final = ", no canary"
REST_AFTER: Final = 60.0  # seconds without a call


def _anywhere(ward: Ward, go_on: Callable[[], None]) -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext()


class Kept(NamedTuple):
    """What belongs to one loaded object and goes with it."""

    leased: Leased
    canaries: list[Canary]
    rounds: Rounds


class Ward:
    """``show`` and ``hide`` tell calls where to go; ``changed`` hears of each new state; ``watch`` makes who sees them.

    ``room`` is entered for a load, and left when it is over; it may refuse, and says where (``seat``). What it is
    given raises where the load is not wanted any more.
    ``taken``: bytes of the main memory that the object takes, as far as is known; ``device_taken``: of a GPU that
    it runs on, ``device``.
    """

    def __init__(
        self,
        name: str,
        settings: ModelSettings,
        *,
        show: Callable[[Leased], None],
        hide: Callable[[], None],
        changed: Callable[[], None] = lambda: None,
        watch: Callable[[str, float | None], objects.Watch] | None = None,
        room: Callable[[Ward, Callable[[], None]], contextlib.AbstractContextManager[None]] = _anywhere,
        folder: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.settings = settings  # what the next load goes by
        self.stood_in_for = False  # by what is configured no more, so that nobody calls it
        self.taken = 0
        self.device = CPU
        self.device_taken = 0
        self.seat = Seat()
        self._used_at = 0.0
        self._show = show
        self._changed = changed
        self._watch = watch
        self._renewals: list[ModelSettings] = []  # changes that are under way
        self._clock = clock
        self._fresh: dict[Leased, list[Canary]] = {}  # of objects that are not shown yet
        self._kept: Kept | None = None
        self._singing = threading.Lock()  # one canary at a time: their results are compared
        work = Work(
            lambda: making.make(name, self._fetching.located(self.settings), folder, self.seat),
            self._warm,
            self._showing,
            hide,
            lambda go_on: room(self, go_on),
            lambda: self._fetching.now(self.settings),
        )
        self.slot = Slot(name, work, changed, clock)
        self._fetching = Fetching(name, self.slot.hear)

    @property
    def settled(self) -> bool:
        """Whether there is nothing to wait for."""
        state = self.slot.state
        return (
            state not in (LOADING, WARMING)
            and not self._renewals
            and not (state == ABSENT and not self.settings.upkeep.lazy)
        )

    def describe(self) -> dict[str, Any]:
        """The model as plain data."""
        upkeep = self.settings.upkeep
        told = {"kind": self.settings.kind or self.settings.factory or "", **self.slot.describe()}
        served = self.slot.served  # it may be let go of meanwhile
        if served is not None and isinstance(served.schedule, Schedule):
            told["calls"] = served.schedule.lanes.counts().describe()
        if served is not None:
            told["memory"] = self.taken
            if self.device != CPU:
                told |= {"device": self.device, "device_memory": self.device_taken}
        if upkeep.lazy:
            told["lazy"] = True
        return told if upkeep.ttl is None else told | {"ttl": upkeep.ttl}

    @property
    def takes(self) -> dict[str, int]:
        """Bytes that the object takes of each device, as far as is known."""
        return {CPU: self.taken} | ({self.device: self.device_taken} if self.device != CPU else {})

    def change(self, settings: ModelSettings) -> None:
        """Go by other settings from now on; a model that is loaded or wanted is loaded by them, and swapped."""
        self.settings = settings
        # One that is being loaded is made of the old ones: it is abandoned.
        if self.slot.served is not None or self.slot.busy or not settings.upkeep.lazy:
            self._renewals.append(settings)
            try:
                self._on_thread(self._renew, "change")
            except RuntimeError:  # no further threads: whoever loads it next goes by them
                self._renewals.pop()
                raise
        else:
            self.slot.forgive("its configuration has changed")
            self.fetch_ahead()

    def _renew(self) -> None:
        try:
            self.slot.reload("its configuration has changed", at_once=True)
        except LoadFailed:
            pass  # it is logged, and shown
        finally:
            self._renewals.pop()
            self._changed()

    def leave(self, why: str) -> None:
        """Unload it, in the background, when the calls that wait have run: nothing comes after it."""
        self._on_thread(lambda: self._leave(why), "leave")

    def _leave(self, why: str) -> None:
        if (leased := self.slot.served) is not None and isinstance(leased.schedule, Schedule):
            leased.schedule.lanes.drain()
        self.slot.end(why)

    def warm_up(self) -> None:
        """Make the warm-up calls and the canary now, on a loaded model. Raises LoadFailed, CanaryFailed."""
        leased = self.slot.wait("asked to warm up")
        kept = self._kept
        try:
            with leased.held() as obj:
                for warmup in making.warmups(leased, self.settings):
                    self._make(warmup, leased, obj)
        except Retired:
            return self.warm_up()
        return None if kept is None else self._sing(kept)

    def fetch_ahead(self) -> None:
        """Have what it needs from the hub fetched before anybody calls it, in the background."""
        self._fetching.ahead(self.settings)

    # -- while it loads --------------------------------------------------------------------------------

    def _warm(self, leased: Leased) -> str:
        if self._watch is not None:
            leased.watch = self._watch(self.name, self.settings.max_run)
        singers = making.canaries(leased, self.settings)
        begun = self._clock()
        self._fresh[leased] = fit = [canary for canary in singers if self._sings(canary, leased)]
        for warmup in making.warmups(leased, self.settings):
            self._make(warmup, leased, leased.obj)
        return f", of which canary and warm-up {self._clock() - begun:.1f} s" if fit else NO_CANARY

    def _sings(self, canary: Canary, leased: Leased) -> bool:
        try:
            self._make(canary, leased, leased.obj)
        except (CanaryFailed, Stuck) as exc:
            if not canary.probe.tentative:
                raise
            logger.warning("model %s has no canary: %s; give it one by `canary = {...}`", self.name, exc)
            return False
        return True

    def _showing(self, leased: Leased) -> None:
        upkeep = self.settings.upkeep
        canaries = self._fresh.pop(leased, [])
        self._fresh.clear()  # of loads that were abandoned, or failed
        every = upkeep.canary_every if canaries else 0.0
        now = self._used_at = self._clock()
        leased.clock = self._clock
        rest = REST_AFTER if canaries and self._offered(leased, "shrink") else None  # which takes a run
        self._show(leased)
        self.stood_in_for = False
        self._kept = Kept(leased, canaries, Rounds(every, upkeep.ttl, now, rest))

    # -- while it serves -------------------------------------------------------------------------------

    def look(self, now: float) -> float:
        """Make the round, if one is due, on a thread of its own; when to look again."""
        kept = self._kept
        if kept is None or self.slot.served is not kept.leased:
            return self._look_at_failure(now)
        used, kept.leased.used = kept.leased.used, 0.0
        self._used_at = max(self._used_at, used)
        due = kept.rounds.look(now, used, kept.leased.inside)
        try:
            if due == CANARY:
                self._on_thread(lambda: self._beat(kept), "canary")
            elif due == REST:
                self._on_thread(lambda: self._have_rest(kept), "rest")
            elif due == EXPIRED:
                self._on_thread(lambda: self._expire(kept), "idle")
        except RuntimeError:  # no further threads for this user, or in this container
            kept.rounds.put_off(due)
            raise
        return kept.rounds.next(now)

    def _look_at_failure(self, now: float) -> float:
        """Have what should be there without being called, and has failed, loaded again; when to look again.

        Nobody may call it before: callers have another instance of it, or ask first whether the server is ready.
        """
        if self.settings.upkeep.lazy and not self.stood_in_for:
            return NEVER
        if now >= self.slot.retry_at:
            self.slot.retry()
        return self.slot.retry_at

    def _expire(self, kept: Kept) -> None:
        self.slot.unload(f"idle for {self.settings.upkeep.ttl:g} s", kept.leased)

    @property
    def used_at(self) -> float:
        """When the object was last called, or loaded."""
        leased = self.slot.served
        return max(self._used_at, 0.0 if leased is None else leased.used)

    def shrink(self) -> None:
        """Have the object give back, with its next run, memory that its library holds and does not use."""
        leased = self.slot.served
        if leased is not None:
            with contextlib.suppress(Retired), leased.held():
                if (shrink := self._offered(leased, "shrink")) is not None:
                    shrink()

    def _offered(self, leased: Leased, name: str) -> Any:
        """What an adapter offers to its server; a factory's object owes nothing, whatever its methods are called."""
        return None if self.settings.kind is None else getattr(leased.obj, name, None)

    @staticmethod
    def _make(canary: Canary, leased: Leased, obj: Any) -> None:
        """Make its call. Raises CanaryFailed; Stuck where it ran for too long and could be stopped."""
        watch = leased.watch
        with watch.tending(canary.probe.method) if isinstance(watch, Watch) else contextlib.nullcontext():
            canary.sing(obj)

    def _have_rest(self, kept: Kept) -> None:
        try:
            self.shrink()
        except Exception:  # of a model that is broken, a GPU after a fault: its canary will tell
            logger.exception("model %s could not give back memory", self.name)
        self._beat(kept)
        trim()

    def _on_thread(self, task: Callable[[], None], what: str) -> None:
        threading.Thread(target=task, name=f"{what}-{self.name}", daemon=True).start()

    def _beat(self, kept: Kept) -> None:
        try:
            self._sing(kept)
        except CanaryFailed:
            pass  # its end has been seen to
        finally:
            kept.rounds.sung(self._clock())

    def _sing(self, kept: Kept) -> None:
        """Make the canaries of an object that serves. One that fails has it replaced, and raises CanaryFailed."""
        failed = ""
        try:
            with self._singing, kept.leased.held() as obj:
                for canary in kept.canaries:
                    self._make(canary, kept.leased, obj)
        except Retired:
            return
        except (CanaryFailed, Stuck) as exc:
            failed = str(exc)
        del obj
        if failed:
            self.slot.sick(kept.leased, failed)
            raise CanaryFailed(f"model {self.name!r} was not fit to serve, and is loaded again: {failed}")
