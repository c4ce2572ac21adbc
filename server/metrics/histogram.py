"""Latencies in buckets with fixed bounds, so that those of several hosts, or of two moments, add and subtract."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

# Seconds, to two hours; fine enough for a quantile that is a quarter off at most.
BOUNDS: Final = tuple(round(digit * 10.0**power, 6) for power in range(-5, 4) for digit in (1, 1.5, 2, 3, 5, 7))
SIZE: Final = len(BOUNDS) + 1  # the last bucket is for what took longer than any bound

SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)  # of batches, in calls; the last bucket is for larger ones

Buckets = list[int]


def added(several: Iterable[Sequence[int]]) -> Buckets:
    """Bucket by bucket, the sum; all 0 for none."""
    total = [0] * SIZE
    for buckets in several:
        total = [a + b for a, b in zip(total, buckets, strict=True)]
    return total


def since(now: Sequence[int], before: Sequence[int]) -> Buckets:
    """What was added meanwhile. A process that was started anew has begun from 0: then all of ``now``."""
    grown = [a - b for a, b in zip(now, before, strict=True)]
    return list(now) if any(count < 0 for count in grown) else grown


def quantile(buckets: Sequence[int], share: float) -> float | None:
    """The seconds that this share (0 to 1) of all took at most, as near as the bounds tell; None for none at all."""
    total = sum(buckets)
    if not total:
        return None
    wanted, below = share * total, 0
    for index, count in enumerate(buckets):
        if count and below + count >= wanted:
            if index == len(BOUNDS):
                break  # all that is known is that it was longer
            start = BOUNDS[index - 1] if index else 0.0
            return start + (BOUNDS[index] - start) * max(0.0, wanted - below) / count
        below += count
    return BOUNDS[-1]
