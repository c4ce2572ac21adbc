"""What may be said how often: a log that a stranger can fill tells nothing of anybody else.

    kind a   text, text, … (FEW of them), then once a minute "217 more in 60 s; the last: text"

A kind that was not heard of for a minute begins anew. Kinds are ours, never a stranger's words.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

FEW: Final = 5
EVERY: Final = 60.0  # seconds


class _Kind:
    """Of what was heard since ``since``, how much was said, how much was not, and the last of that."""

    __slots__ = ("last", "said", "since", "unsaid")

    def __init__(self, since: float) -> None:
        self.since = since
        self.said = self.unsaid = 0
        self.last = ""

    def sum_up(self, now: float) -> str:
        text = f"{self.unsaid} more in {now - self.since:.0f} s; the last: {self.last}"
        self.since, self.unsaid = now, 0
        return text


class Repeats:
    """Decides only: who asks says it."""

    def __init__(self, few: int = FEW, every: float = EVERY, clock: Callable[[], float] = time.monotonic) -> None:
        self.few = few
        self._every = every
        self._clock = clock
        self._kinds: dict[str, _Kind] = {}
        self._lock = threading.Lock()

    def hear(self, kind: str, text: str) -> str:
        """What is to be said now: the text, or how many there were, or nothing."""
        with self._lock:
            now = self._clock()
            found = self._kinds.get(kind)
            if found is None or (not found.unsaid and now >= found.since + self._every):
                found = self._kinds[kind] = _Kind(now)
            if found.said < self.few:
                found.said, found.since = found.said + 1, now
                return text
            found.unsaid, found.last = found.unsaid + 1, text
            return found.sum_up(now) if now >= found.since + self._every else ""

    def overdue(self, *, all: bool = False) -> list[str]:
        """What has been kept back for long enough; all of it at the end."""
        with self._lock:
            now = self._clock()
            late = [kind for kind in self._kinds.values() if all or now >= kind.since + self._every]
            return [kind.sum_up(now) for kind in late if kind.unsaid]
