"""How many tasks may be on their way at once: whoever brings one more waits, or is refused."""

from __future__ import annotations

import threading

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

    def enter(self) -> None:
        """Take a place. Raises Overloaded where there is none and nobody waits, RuntimeError once it is closed."""
        with self._changed:
            while not self._closed and self._most is not None and self._inside >= self._most:
                if not self._waits:
                    raise Overloaded(f"{self._inside} tasks are in flight, the most there may be", _RETRY_AFTER)
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
