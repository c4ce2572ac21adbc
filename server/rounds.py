"""When a model's canary is due, and when it has been idle for long enough to rest or to go.

Decides only: no clock, no thread.
"""

from __future__ import annotations

from typing import Final

NEVER: Final = float("inf")
CANARY: Final = "canary"
EXPIRED: Final = "expired"
REST: Final = "rest"

LOOKS: Final = 8  # in each time to live, and in each beat that a busy model is let go on
SOONEST: Final = 0.05


class Rounds:
    """Of one loaded object. ``every``: seconds between canaries, 0 for none; ``ttl``: None for ever.

    ``rest``: seconds without a call after which it gives back what it can spare, None for never.
    """

    def __init__(self, every: float, ttl: float | None, now: float, rest: float | None = None) -> None:
        self._every = every
        self._ttl = ttl
        self._rest = NEVER if rest is None else rest
        self._rested = rest is None
        self._used_at = now  # or later, but not as late as the next look
        self._called_at = now
        self._due = now + every if every else NEVER
        self._singing = False
        self._gone = False

    def look(self, now: float, used: float, inside: int) -> str:
        """What is to be done: nothing, CANARY or REST (`sung` tells of their end) or EXPIRED.

        ``used``: when it was called last, 0 where not since the last look; ``inside``: the calls that run now.
        """
        busy = inside > self._singing
        if used or busy:
            self._used_at = now  # nobody tells when a call ended, and it expires no sooner than it may
            self._called_at = now if busy else used
            self._rested = self._rest == NEVER
        if self._gone or self._singing:
            return ""
        if self._ttl is not None and now >= self._used_at + self._ttl:
            self._gone = True
            return EXPIRED
        if not self._rested and now >= self._called_at + self._rest:
            self._singing = self._rested = True  # it rests in a call of its canary
            return REST
        # It gives way to callers, but not for ever: a model that is always busy can be sick as well.
        if now >= self._due and (not inside or now >= self._due + self._every):
            self._singing = True
            return CANARY
        return ""

    def sung(self, now: float) -> None:
        """The canary, or the rest, is over."""
        self._singing = False
        self._due = now + self._every if self._every else NEVER

    def put_off(self, what: str) -> None:
        """What `look` has asked for could not be begun: it asks for it again."""
        self._singing = self._gone = False
        self._rested = self._rested and what != REST

    def next(self, now: float) -> float:
        """When to look again."""
        if self._gone:
            return NEVER
        # A model that has rested is looked at as well: nobody else tells that it was called.
        times = [now + self._rest if self._rested else self._called_at + self._rest]
        if self._ttl is not None:
            times.append(min(self._used_at + self._ttl, now + max(SOONEST, self._ttl / LOOKS)))
        if self._singing:  # nobody wakes the one who looks when it is over
            times.append(now + max(SOONEST, self._every / LOOKS))
        elif self._every:
            times.append(self._due if now < self._due else now + max(SOONEST, self._every / LOOKS))
        return min(times)
