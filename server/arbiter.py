"""Which models of a host may be in memory: asks before each load, looks every second, and has models unloaded.

    a load ─► room() ─► governor.admit ─┬─ Load ──────────► it goes on, and what it took is noted
                 ▲                      ├─ MakeRoom ──► others are unloaded ─┐
                 │                      ├─ Wait ──► something changes ───────┤
                 └──────────────────────│────────────────────────────────────┘
                                        └─ Refuse ──► NotEnoughMemory
    each second ─► relief.step ─► arenas shrink, the heap is trimmed, models are unloaded

`machine.governor` and `machine.relief` decide; here is what carries it out. Each host decides for its own
models only; what the others take counts as in use.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from sharedmodel.heap import trim

from .kinds import DETAILS
from .lifecycle import DRAINING
from .machine.amount import size
from .machine.estimate import LEAST, estimate
from .machine.governor import Decision, Load, MakeRoom, Model, Refuse, Request, Rules, admit
from .machine.growth import Growth
from .machine.ledger import Ledger
from .machine.own import own_memory
from .machine.pressure import pressure
from .machine.purse import Purse
from .machine.relief import Relief, ShrinkArenas, Step, Thresholds, TrimHeap
from .settings import ModelSettings

if TYPE_CHECKING:
    from .ward import Ward

BEAT: Final = 1.0
LOOK: Final = 0.2  # seconds; that a call has ended, and its model may go, is told by nobody
_RULES: Final = Rules()
_FULL: Final = Thresholds().full

logger = logging.getLogger("sharedmodel.host")


class Arbiter:
    """Of one host. Where the purse is open every load goes on; what models take is noted all the same."""

    def __init__(
        self,
        wards: Callable[[], Iterable[Ward]],
        purse: Purse,
        clock: Callable[[], float] = time.monotonic,
        rules: Rules = _RULES,
    ) -> None:
        self._wards = wards
        self._purse = purse
        self._clock = clock
        self._rules = rules
        self._relief = Relief(rules=rules)
        self._deciding = threading.Lock()  # held while memory is measured, and by nobody who is in a hurry
        self._ledger = Ledger()
        self._growth = Growth()
        # Not by name: a model that is configured no more may still load when another has its name.
        self._coming: dict[Ward, int] = {}  # loads that were let in, and what they will take
        self._leaving: set[Ward] = set()
        self._news = threading.Condition()
        self._changes = 0
        self._stopped = False

    def start(self) -> None:
        """Look after memory while there are models, on a thread of its own."""
        if not self._purse.open:
            threading.Thread(target=self._run, name="arbiter", daemon=True).start()

    def stop(self) -> None:
        self._stopped = True
        self.nudge()

    def nudge(self) -> None:
        """A model has a new state. From any thread."""
        with self._news:
            self._changes += 1
            self._news.notify_all()

    def forget(self, name: str) -> None:
        """A model is another one from now on: what it took says nothing any more."""
        with self._deciding:
            self._ledger.forget(name)

    # -- loads -----------------------------------------------------------------------------------------

    @contextmanager
    def room(self, ward: Ward) -> Iterator[None]:
        """Held while a model is loaded; entering waits until there is room. Raises NotEnoughMemory."""
        self._enter(ward)
        done = False
        try:
            yield
            done = True
        finally:
            with self._deciding:
                del self._coming[ward]
                grown = self._growth.end(ward, self._purse.own())
                if done:
                    self._ledger.loaded(ward.name, 0, grown)
                    ward.taken = self._ledger.need(ward.name, 0)
            self.nudge()

    def _enter(self, ward: Ward) -> None:
        need, since = self._ledger.need(ward.name, expected(ward.settings)), self._clock()
        request = Request(ward.name, need, since)
        deadline = since + self._rules.patience
        while True:
            seen = self._changes
            with self._deciding:
                now, leaving = self._clock(), bool(self._leaving)
                decision = self._decide(request, now)
                if isinstance(decision, Load):
                    self._coming[ward] = need
                    self._growth.begin(ward, need or LEAST, self._purse.own())
                    return
                # One after the other: what is just leaving may be enough.
                if isinstance(decision, MakeRoom) and (not leaving or now >= deadline):
                    self._unload(decision.unload, f"to make room for {ward.name}, which needs {size(need)}")
            if isinstance(decision, Refuse):
                raise decision.error
            self._pause(seen, LOOK)

    def _decide(self, request: Request, now: float) -> Decision:
        if self._purse.open:
            return Load()
        models = self._models()  # first: what one that is just gone had must not count without it
        return admit(request, self._purse.device(), models, now, self._rules)

    def _models(self) -> list[Model]:
        found = [Model(ward.name, need, loading=True) for ward, need in self._coming.items()]
        for ward in self._wards():
            leased, leaving = ward.slot.served, ward in self._leaving or ward.slot.state == DRAINING
            if leased is not None or leaving:
                calls = 0 if leased is None else leased.inside
                running = calls + leaving + ward.slot.busy
                keep = ward.settings.upkeep.keep
                found.append(Model(ward.name, ward.taken, running=running, keep=keep, used=ward.used_at))
        return found

    def _unload(self, names: Iterable[str], why: str) -> None:
        """Begin to. Not waited for here: a call that came in at the last moment may take as long as it does."""
        for ward in self._wards():
            if ward.name in names and ward not in self._leaving:
                self._leaving.add(ward)
                task = threading.Thread(target=self._let_go, args=(ward, why), name=f"unload-{ward.name}", daemon=True)
                try:
                    task.start()
                except RuntimeError:  # no further threads for this user, or in this container
                    self._leaving.discard(ward)
                    raise

    def _let_go(self, ward: Ward, why: str) -> None:
        try:
            if (leased := ward.slot.served) is not None:
                ward.slot.unload(why, leased, if_idle=True)
        finally:
            self._leaving.discard(ward)
            self.nudge()

    def _pause(self, seen: int, seconds: float | None) -> None:
        """Until something has changed since it was ``seen``, or for so long."""
        with self._news:
            self._news.wait_for(lambda: self._changes != seen, seconds)

    # -- shortage --------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            seen = self._changes
            if self._stopped:
                return
            if not any(ward.slot.served is not None for ward in self._wards()):
                self._pause(seen, None)
                continue
            try:
                self.look()
            except Exception:  # a fault of ours, or no further descriptors: the models go on, the next look may do
                logger.exception("memory could not be looked after")
            with self._news:
                self._news.wait_for(lambda: self._stopped, BEAT)

    def look(self) -> None:
        """Do what is to be done about memory now; nothing while models are leaving, which may be enough."""
        if self._leaving:
            return
        device, some = self._purse.device(roughly=True), pressure().some
        if device.in_use > _FULL * device.budget:
            device = self._purse.device()
        with self._deciding:
            step = self._relief.step(some, device, self._models(), self._clock())
        if step is not None:
            short = f"memory is short: {size(device.in_use)} of {size(device.budget)} in use, {some:.0f} % stalled"
            self._take(step, short)

    def _take(self, step: Step, short: str) -> None:
        if isinstance(step, ShrinkArenas):
            logger.warning("%s; models' arenas are shrunk", short)
            for ward in self._wards():
                ward.shrink()
        elif isinstance(step, TrimHeap):
            before = own_memory().rss
            trim()
            logger.warning("%s; the heap was trimmed by %s", short, size(max(0, before - own_memory().rss)))
        else:
            logger.warning("%s; unloaded: %s", short, ", ".join(step.names))
            with self._deciding:
                self._unload(step.names, short)


def expected(settings: ModelSettings) -> int:
    """What a model will take that was never loaded: by its files, 0 where it has none of its own."""
    kind = None if settings.kind is None else DETAILS[settings.kind]
    # What a library makes is where it keeps all of its models.
    options = () if kind is None else [key for key in kind.paths if key not in kind.made]
    files = [path for key in options if isinstance(path := settings.options.get(key), str)]
    return estimate(files) if files else 0
