"""What must not overtake a longer frame that came before it, which is unpacked on a worker meanwhile.

CALL, 2 MB ─► begin ─► unpacked aside ─► end ─┐
CANCEL of it, RELEASE of what it refers to ───┴─► carried out
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Final

MOST: Final = 100_000  # tasks that wait; a client that is past that has no claim to order


class Order:
    """Of one session. `begin` and `after` are the loop's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: set[int] = set()
        self._last = 0
        self._waiting: deque[tuple[int, Callable[[], None]]] = deque()

    def begin(self) -> int:
        """A frame is put aside. A number for `end`."""
        with self._lock:
            self._last += 1
            self._under_way.add(self._last)
            return self._last

    def after(self, task: Callable[[], None]) -> None:
        """Do this when all that was put aside before it has ended; now, if nothing has been."""
        if self._under_way:
            with self._lock:
                if self._under_way and len(self._waiting) < MOST:
                    self._waiting.append((self._last, task))
                    return
        task()

    def end(self, number: int) -> list[Callable[[], None]]:
        """It is taken in, or will never be. What has waited for it, in order, which is to be done now."""
        due = []
        with self._lock:
            self._under_way.discard(number)
            oldest = min(self._under_way, default=self._last + 1)
            while self._waiting and self._waiting[0][0] < oldest:
                due.append(self._waiting.popleft()[1])
        return due
