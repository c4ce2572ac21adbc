"""By how much each of several loads made its process grow. Pure.

    a ├──────────────────┤            memory of the process is looked at whenever a load begins or ends;
    b        ├────────────────┤       what came since the last look is divided among those under way
      │← a  →│← a and b →│← b │

So the parts add up to what was taken in all, and a load that runs alone is measured exactly.
"""

from __future__ import annotations


class Growth:
    """Bytes. ``weight``: what a load is expected to take, beside others' weights. Not thread-safe."""

    def __init__(self) -> None:
        self._weights: dict[str, int] = {}
        self._parts: dict[str, float] = {}
        self._last = 0

    def begin(self, name: str, weight: int, measured: int) -> None:
        """A load begins, its process being so large."""
        self._divide(measured)
        self._weights[name] = max(1, weight)
        self._parts[name] = 0.0

    def end(self, name: str, measured: int) -> int:
        """A load is over; its part."""
        self._divide(measured)
        del self._weights[name]
        return int(self._parts.pop(name))

    def _divide(self, measured: int) -> None:
        grown = max(0, measured - self._last)  # less than before: something else was let go of meanwhile
        whole = sum(self._weights.values())
        for name, weight in self._weights.items():
            self._parts[name] += grown * weight / whole
        self._last = measured
