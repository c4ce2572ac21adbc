"""Timing that survives a noisy machine: contestants in turn, medians, and ratios taken pair by pair."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple


class Ratio(NamedTuple):
    """A ratio of medians over rounds: its median, and the interval that holds nine tenths of the rounds."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g}–{self.high:.3g})"


def batch(call: Callable[[], Any], count: int) -> float:
    """The median time of a call in seconds."""
    times = []
    for _ in range(count):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def in_turn(calls: dict[str, Callable[[], Any]], *, rounds: int, count: dict[str, int]) -> dict[str, list[float]]:
    """Medians of each contestant, round by round, after a warm-up."""
    for name, call in calls.items():
        batch(call, max(3, count[name] // 2))
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            taken[name].append(batch(call, count[name]))
    return taken


def ratio(above: list[float], below: list[float]) -> Ratio:
    """How many times ``above`` is ``below``, pair by pair."""
    pairs = sorted(a / b for a, b in zip(above, below, strict=True))
    edge = len(pairs) // 20
    return Ratio(statistics.median(pairs), pairs[edge], pairs[-1 - edge])


def micro(times: list[float]) -> str:
    """A median in microseconds."""
    return f"{statistics.median(times) * 1e6:,.1f}"
