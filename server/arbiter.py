"""Which models of a host may be in memory: asks before each load, looks every second, and has models unloaded.

    a load ─► room() ─► governor.admit ─┬─ Load ──────────► it goes on, and what it took is noted
                 ▲                      ├─ MakeRoom ──► others are unloaded ─┐
                 │                      ├─ Wait ──► something changes ───────┤
                 └──────────────────────│────────────────────────────────────┘
                                        └─ Refuse ──► NotEnoughMemory
    each second ─► relief.step ─► arenas shrink, the heap is trimmed, models are unloaded (of GPUs: each ten)

`machine.governor` and `machine.relief` decide, on what `accounts` knows of the main memory and of GPUs; here is what
carries it out. Room for a load is made in all hosts of the server: another host is asked to unload its model, and does
so if the model is idle (see `machine.neighbours`). In a shortage each host unloads its own.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from sharedmodel.heap import trim
from sharedmodel.repeats import Repeats

from .accounts import Accounts, Stay
from .lifecycle import DRAINING, WARMING
from .machine.amount import size
from .machine.governor import CPU, Device, Load, MakeRoom, Model, Refuse, Rules, idle
from .machine.gpus import Gpus
from .machine.neighbours import Neighbours
from .machine.own import own_memory
from .machine.pressure import pressure
from .machine.purse import Purse
from .machine.relief import Relief, ShrinkArenas, Step, Thresholds, TrimHeap

if TYPE_CHECKING:
    from .ward import Ward

BEAT: Final = 1.0
NEVER: Final = float("inf")
GPU_BEAT: Final = 10.0  # to ask for their memory takes a process of its own
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
        gpus: Gpus | None = None,
        neighbours: Neighbours | None = None,
    ) -> None:
        self._wards = wards
        self._neighbours = neighbours or Neighbours()
        self._looks = False  # and so hears of what others ask
        self._purse = purse
        self._accounts = Accounts(purse, gpus or Gpus())
        self._gpus_due = float("-inf")
        self._gpu_reliefs: dict[str, Relief] = {}
        self._repeats = Repeats(1, clock=clock)
        self._clock = clock
        self._rules = rules
        self._relief = Relief(rules=rules)
        self._deciding = threading.Lock()  # held while memory is measured, and by nobody who is in a hurry
        self._leaving: set[Ward] = set()
        self._left_at = float("-inf")  # the last of them
        self._news = threading.Condition()
        self._changes = 0
        self._stopped = False

    def start(self) -> None:
        """Look after memory while there are models, on a thread of its own."""
        if not self._purse.open:
            self._looks = True
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
            self._accounts.forget(name)

    @property
    def gpus(self) -> Gpus:
        """As the host's loads see them."""
        return self._accounts.gpus

    # -- loads -----------------------------------------------------------------------------------------

    @contextmanager
    def room(self, ward: Ward, go_on: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Held while a model is loaded; entering waits until there is room, and says where (`Ward.seat`).

        Raises NotEnoughMemory, BadArgument for a device that there is not, and what ``go_on`` raises that is asked
        whether the load is wanted still.
        """
        stay = self._enter(ward, go_on)
        done = False
        try:
            yield
            done = True
        finally:
            self.gpus.forget()
            try:
                self._ask_for(stay.seat.device)
            finally:
                with self._deciding:
                    self._accounts.end(stay, done=done)
                    self._tell()
                self.nudge()

    def _enter(self, ward: Ward, go_on: Callable[[], None]) -> Stay:
        since = self._clock()
        deadline = since + self._rules.patience
        wish = self._accounts.wish(ward, since)
        self.gpus.forget()
        there: set[Model] = set()
        try:
            while True:
                seen = self._changes
                there = self._ask_before(wish.device, there)
                with self._neighbours.turn(), self._deciding:
                    go_on()  # no room is made for what is not wanted, and the last load's seat is the model's
                    now, leaving = self._clock(), bool(self._leaving)
                    models = self._all()
                    if not there <= _on_gpus(models):
                        continue  # what one had that is just gone would count, and could be had from nobody
                    seat, decision = self._accounts.decide(wish, models, now, self._rules)
                    if isinstance(decision, Load):
                        stay = self._accounts.begin(ward, wish, seat)
                        self._tell()
                        return stay
                    # One after the other: what is just leaving may be enough.
                    if isinstance(decision, MakeRoom) and (not leaving or now >= deadline):
                        self._unload(decision.unload, f"to make room for {wish}")
                    ask = decision.ask if isinstance(decision, MakeRoom) else ()
                    self._neighbours.ask(ward, ask, f"to make room for {wish}")
                # What its own old object still has is about to come back.
                if isinstance(decision, Refuse) and not (ward.slot.leaving and now < deadline):
                    raise decision.error
                self._pause(seen, LOOK)
        finally:
            with self._deciding:
                self._neighbours.ask(ward, ())

    def _ask_for(self, device: str) -> None:
        """Have the numbers of GPUs anew, where they matter; not under the lock, which others wait for."""
        if device != CPU:
            self.gpus.ask()

    def _ask_before(self, device: str, there: set[Model]) -> set[Model]:
        """The models on GPUs, as it was before these were asked. ``there``: as it was the last time."""
        if device == CPU:
            return there
        with self._deciding:
            models = _on_gpus(self._all())
        if there - models:
            self.gpus.forget()
        self.gpus.ask()
        return models

    def _all(self) -> list[Model]:
        return [*self._models(), *self._neighbours.models()]

    def _models(self) -> list[Model]:
        """Those of this host, once for each device that they take memory of."""
        found = self._accounts.coming()
        for ward in self._wards():
            leased, state = ward.slot.served, ward.slot.state
            leaving = ward in self._leaving or state == DRAINING
            # Its load is over, and what it took is known; it serves in a moment.
            landing = state == WARMING and not self._accounts.loads(ward)
            if leased is not None or leaving or landing:
                calls = 0 if leased is None else leased.inside
                running = calls + leaving + landing + ward.slot.busy
                keep = ward.settings.upkeep.keep
                for device, taken in ward.takes.items():
                    found.append(Model(ward.name, taken, device, running=running, keep=keep, used=ward.used_at))
        return found

    def _tell(self) -> None:
        """Have the other hosts see what is here. `_deciding` is held."""
        # Where nobody looks at what they ask for they must not wait for it.
        self._neighbours.tell(model if self._looks else model._replace(keep=True) for model in self._models())

    def _answer(self) -> None:
        """Let go of what other hosts ask for, where it is idle; and tell them what has changed here."""
        asked = self._neighbours.asked()
        with self._deciding:
            models = self._models()
            stale = {model.name for model in models if model.used > asked.get(model.name, (NEVER, ""))[0]}
            if stale or self._neighbours.differ(models):
                self._tell()
            for model in idle(models, self._clock(), self._rules):
                # One that was used since they saw it may not be the one whose turn it is to go.
                if model.name in asked and model.name not in stale:
                    self._unload([model.name], asked[model.name][1])

    def _unload(self, names: Iterable[str], why: str) -> None:
        """Begin to. Not waited for here: a call that came in at the last moment may take as long as it does."""
        for ward in self._wards():
            if ward.name in names and ward not in self._leaving:
                self._leaving.add(ward)
                self._left_at = self._clock()
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
            self.gpus.forget()
            with self._deciding:
                self._tell()
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
            here = any(ward.slot.served is not None for ward in self._wards())
            try:
                self._answer()
                if here:
                    self.look()
            except Exception:  # a fault of ours, or no further descriptors: the models go on, the next look may do
                logger.exception("memory could not be looked after")
            self._pause(seen, BEAT if here else None)

    def look(self) -> None:
        """Do what is to be done about memory now; nothing while models are just leaving, which may be enough."""
        if self._leaving and self._clock() < self._left_at + self._rules.patience:
            return
        device, some = self._purse.device(roughly=True), pressure().some
        if device.in_use > _FULL * device.budget:
            device = self._purse.device()
        with self._deciding:
            step = self._relief.step(some, device, self._models(), self._clock())
        if step is not None:
            self._take(step, f"memory is short: {_used(device)}, {some:.0f} % stalled")
        self._look_at_gpus()

    def _look_at_gpus(self) -> None:
        now = self._clock()
        there = {ward.device for ward in self._wards() if ward.slot.served is not None} - {CPU}
        if not there or now < self._gpus_due or self._leaving:
            return
        self._gpus_due = now + GPU_BEAT
        self.gpus.forget()
        self.gpus.ask()
        for device in (reading.device for reading in self.gpus.look() if reading.device.name in there):
            relief = self._gpu_reliefs.setdefault(device.name, Relief(rules=self._rules, gentle=(ShrinkArenas(),)))
            with self._deciding:
                step = relief.step(0.0, device, self._models(), now)
            if step is not None:
                self._take(step, f"memory of {device.name} is short: {_used(device)}", device.name)

    def _take(self, step: Step, short: str, device: str = CPU) -> None:
        if isinstance(step, ShrinkArenas):
            for ward in self._wards():
                if device in ward.takes:
                    ward.shrink()
            self._say(f"arenas {device}", f"{short}; models' arenas are shrunk")
        elif isinstance(step, TrimHeap):
            before = own_memory().rss
            trim()
            self._say("heap", f"{short}; the heap was trimmed by {size(max(0, before - own_memory().rss))}")
        else:
            logger.warning("%s; unloaded: %s", short, ", ".join(step.names))
            with self._deciding:
                self._unload(step.names, short)

    def _say(self, kind: str, text: str) -> None:
        """What costs nothing and may be done every few seconds, for as long as memory comes and goes."""
        if text := self._repeats.hear(kind, text):
            logger.warning("%s", text)


def _used(device: Device) -> str:
    return f"{size(device.in_use)} of {size(device.budget)} in use"


def _on_gpus(models: list[Model]) -> set[Model]:
    """Which models are on which, and nothing else of them."""
    return {Model(model.name, 0, model.device, host=model.host) for model in models if model.device != CPU}
