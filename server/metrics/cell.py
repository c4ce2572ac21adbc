"""The calls of one kind on one thread: how many, and what their time went to.

All are counted, and each that is not quick is measured. Of the quick ones, to which measuring would be a burden,
every thirty-second is, and those after it are taken to have been its equals.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any, Final

from .histogram import BOUNDS, SIZE, SIZES
from .stages import STAGES

ALIKE: Final = 31
_MOMENT: Final = 1e-5  # seconds; a measurement takes less
# The numbers: of each stage its seconds and its buckets; then the buckets of batch sizes.
_ROW: Final = 1 + SIZE
_RUNS: Final = _ROW * len(STAGES)
_WHOLE: Final = _RUNS + len(SIZES) + 1


class Cell:
    """Belongs to one thread, which alone writes. ``left``: how many quick calls are still to go unmeasured; to
    count one, take 1 off.
    """

    __slots__ = ("_done", "_last", "_numbers", "_odd", "left", "refused")

    def __init__(self) -> None:
        self.left = self.refused = 0
        self._done = 0  # calls that are in the numbers
        self._last: tuple[float, ...] = ()  # the times that those since are taken to have had
        self._numbers: list[float] = [0] * _WHOLE
        self._odd = 0  # while it is, the four above don't fit together

    def measure(
        self, wait: float, batch: float, infer: float, transfer: float, *, quick: bool = False, size: int = 1
    ) -> None:
        """Count a call that was executed, by its times in seconds; ``size``: of the batch it was in, if not quick."""
        self._odd += 1
        times = wait, batch, infer, transfer, wait + batch + infer + transfer
        if quick:
            if self._last:
                _add(self._numbers, self._last, ALIKE - self.left)
                self._done += ALIKE - self.left
            self._last, self.left = times, ALIKE
        _add(self._numbers, times, 1, size)
        self._done += 1
        self._odd += 1

    def read(self) -> tuple[int, int, list[float]]:
        """Calls, how many of them were refused, and the numbers of the others, on any thread."""
        while True:
            before = self._odd
            calls, last, numbers, alike = self._done, self._last, self._numbers[:], ALIKE - self.left
            if before == self._odd and before % 2 == 0:
                break
            time.sleep(_MOMENT)
        if last:
            _add(numbers, last, alike)
            calls += alike
        refused = self.refused
        return calls + refused, refused, numbers


class Sum:
    """What several cells have come to: ``calls`` that ended, ``refused`` of them never executed."""

    def __init__(self, cells: Iterable[Cell | Sum] = ()) -> None:
        self.calls = self.refused = 0
        self.numbers: list[float] = [0] * _WHOLE
        for cell in cells:
            calls, refused, numbers = cell.read()
            self.calls += calls
            self.refused += refused
            self.numbers = [a + b for a, b in zip(self.numbers, numbers, strict=True)]

    def read(self) -> tuple[int, int, list[float]]:
        return self.calls, self.refused, self.numbers

    def stages(self) -> dict[str, Any]:
        """Of each stage its ``seconds`` in all and its ``buckets``."""
        rows = [self.numbers[start : start + _ROW] for start in range(0, _RUNS, _ROW)]
        return {stage: {"seconds": row[0], "buckets": row[1:]} for stage, row in zip(STAGES, rows, strict=True)}

    def runs(self) -> list[int]:
        """How many runs there were of each size of batch."""
        return [round(count) for count in self.numbers[_RUNS:]]


def _add(numbers: list[float], times: Sequence[float], count: int, size: int = 1) -> None:
    for stage, seconds in enumerate(times):
        numbers[stage * _ROW] += count * seconds
        numbers[stage * _ROW + 1 + bisect_left(BOUNDS, seconds)] += count
    numbers[_RUNS + bisect_left(SIZES, size)] += count / size  # each call of a batch has its part of the run
