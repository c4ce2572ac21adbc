"""When a model's canary is due, and when it has been idle for long enough to go. Decides only: no clock, no thread."""

from __future__ import annotations

from typing import Final

NEVER: Final = float("inf")
CANARY: Final = "canary"
EXPIRED: Final = "expired"

LOOKS: Final = 8  # in each time to live, and in each beat that a busy model is let go on
SOONEST: Final = 0.05


class Rounds:
    """Of one loaded object. ``every``: seconds between canaries, 0 for none; ``ttl``: None for ever."""

    def __init__(self, every: float, ttl: float | None, now: float) -> None:
        self._every = every
        self._ttl = ttl
        self._used_at = now
        self._due = now + every if every else NEVER
        self._singing = False
        self._gone = False

    def look(self, now: float, used: bool, inside: int) -> str:
        """What is to be done: nothing, CANARY (`sung` tells of its end) or EXPIRED.

        ``used``: whether it was called since the last look; ``inside``: the calls that run now.
        """
        if used or inside > self._singing:
            self._used_at = now
        if self._gone or self._singing:
            return ""
        if self._ttl is not None and now >= self._used_at + self._ttl:
            self._gone = True
            return EXPIRED
        # It gives way to callers, but not for ever: a model that is always busy can be sick as well.
        if now >= self._due and (not inside or now >= self._due + self._every):
            self._singing = True
            return CANARY
        return ""

    def sung(self, now: float) -> None:
        """The canary is over."""
        self._singing = False
        self._due = now + self._every

    def next(self, now: float) -> float:
        """When to look again."""
        if self._gone:
            return NEVER
        times = [NEVER]
        if self._ttl is not None:
            times.append(min(self._used_at + self._ttl, now + max(SOONEST, self._ttl / LOOKS)))
        if self._singing:  # nobody wakes the one who looks when it is over
            times.append(now + max(SOONEST, self._every / LOOKS))
        elif self._every:
            times.append(self._due if now < self._due else now + max(SOONEST, self._every / LOOKS))
        return min(times)
