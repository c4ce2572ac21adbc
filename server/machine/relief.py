"""What to do when memory becomes short: first what costs nothing, at last unloading. Policy with a clock of its user's.

    short: tasks wait for memory (PSI), or more than 95 % of the budget is in use
    ─► shrink the arenas ─► trim the heap ─► unload the least recently used, again and again

One step at a time, with a pause in which it may show; where it is short no more, the next time begins anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from .governor import Device, Model, Rules, idle, least_used


@dataclass(frozen=True)
class ShrinkArenas:
    """Have model libraries give back what their arenas hold and don't use."""


@dataclass(frozen=True)
class TrimHeap:
    """Call `own.trim` in each host."""


@dataclass(frozen=True)
class Unload:
    """Unload these models."""

    names: tuple[str, ...]


Step = ShrinkArenas | TrimHeap | Unload


class Thresholds(NamedTuple):
    """``stalled``: per cent of ten seconds in which a task waited. ``full``: part of the budget in use. ``pause``:
    seconds between steps; the kernel's average is one over ten."""

    stalled: float = 10.0
    full: float = 0.95
    pause: float = 5.0


_GENTLE: Final[tuple[Step, ...]] = (ShrinkArenas(), TrimHeap())
_THRESHOLDS: Final = Thresholds()
_RULES: Final = Rules()


class Relief:
    """One device. Ask it every second or so."""

    def __init__(
        self, thresholds: Thresholds = _THRESHOLDS, rules: Rules = _RULES, gentle: tuple[Step, ...] = _GENTLE
    ) -> None:
        """``gentle``: what comes before unloading, in this order."""
        self._gentle = gentle
        self._thresholds = thresholds
        self._rules = rules
        self._taken = 0
        self._next = float("-inf")

    def step(self, some: float, device: Device, models: Iterable[Model], now: float) -> Step | None:
        """What to do now, None for nothing. ``some``: the pressure's avg10 in per cent."""
        here = [model for model in models if model.device == device.name]
        over = device.in_use - int(self._thresholds.full * device.budget)
        if over <= 0 and some <= self._thresholds.stalled:
            self._taken = 0
            return None
        if now < self._next:
            return None
        step = self._choose(over, idle(here, now, self._rules))
        if step is not None:
            self._taken += 1
            self._next = now + self._thresholds.pause
        return step

    def _choose(self, over: int, spare: list[Model]) -> Step | None:
        if self._taken < len(self._gentle):
            return self._gentle[self._taken]
        # For a stall nobody says how much is missing: one model, then look again.
        chosen = least_used(spare, min(max(over, 1), sum(model.taken for model in spare)))
        return Unload(tuple(model.name for model in chosen)) if chosen else None
