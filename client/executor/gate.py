"""How many tasks may be on their way at once: whoever brings one more waits, or is refused.

The executor's own threads never wait here. They run callbacks, which submit as well, and places come back only
where they go on: a place that a callback finds taken is one more than the bound.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from sharedmodel.errors import Overloaded

_RETRY_AFTER = 1.0


class Gate:
    """Counts tasks. Thread-safe; without ``most`` there is no bound."""

    def __init__(self, most: int | None, *, waits: bool) -> None:
        self._most = most
        self._waits = waits
        self._inside = 0
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.local()

    def freely(self, act: Callable[[], None]) -> None:
        """Do what the executor's own threads do: meanwhile this one enters without waiting."""
        self._thread.free = True
        try:
            act()
        finally:
            self._thread.free = False

    def enter(self) -> None:
        """Take a place. Raises Overloaded where there is none and nobody waits, RuntimeError once it is closed."""
        with self._changed:
            while not self._closed and self._most is not None and self._inside >= self._most:
                if not self._waits:
                    raise Overloaded(f"{self._inside} tasks are in flight, the most there may be", _RETRY_AFTER)
                if getattr(self._thread, "free", False):
                    break
                self._changed.wait()
            if self._closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._inside += 1

    def leave(self) -> None:
        """Give the place back."""
        with self._changed:
            self._inside -= 1
            self._changed.notify()

    def close(self) -> None:
        """Nobody enters any more; who waits is told. Idempotent."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
