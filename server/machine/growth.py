"""By how much each of several loads made its process grow. Pure.

    a ├──────────────────┤            memory of the process is looked at whenever a load begins or ends;
    b        ├────────────────┤       what came since the last look is divided among those under way
      │← a  →│← a and b →│← b │

So the parts add up to what was taken in all, and a load that runs alone is measured exactly.
"""

from __future__ import annotations

from collections.abc import Hashable


class Growth:
    """Bytes. ``weight``: what a load is expected to take, beside others' weights. Not thread-safe."""

    def __init__(self) -> None:
        self._weights: dict[Hashable, int] = {}
        self._parts: dict[Hashable, float] = {}
        self._last = 0

    def begin(self, load: Hashable, weight: int, measured: int) -> None:
        """A load begins, its process being so large."""
        self._divide(measured)
        self._weights[load] = max(1, weight)
        self._parts[load] = 0.0

    def end(self, load: Hashable, measured: int) -> int:
        """A load is over; its part."""
        self._divide(measured)
        del self._weights[load]
        return int(self._parts.pop(load))

    def _divide(self, measured: int) -> None:
        grown = max(0, measured - self._last)  # less than before: something else was let go of meanwhile
        whole = sum(self._weights.values())
        for load, weight in self._weights.items():
            self._parts[load] += grown * weight / whole
        self._last = measured
