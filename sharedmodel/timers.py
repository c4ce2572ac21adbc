"""What is to be done at a moment: one thread for all, which begins with the first timer."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from .deadlines import LONGEST

_DROPPED_MOST: Final = 64

logger = logging.getLogger("sharedmodel")

Act = Callable[[], Any]


class Timer:
    """One moment; `act` is None once it is dropped."""

    __slots__ = ("act", "order")

    def __init__(self, when: float, number: int, act: Act) -> None:
        self.order = (when, number)
        self.act: Act | None = act

    def __lt__(self, other: Timer) -> bool:
        return self.order < other.order


class Timers:
    """A heap of timers. Thread-safe."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._heap: list[Timer] = []
        self._changed = threading.Condition()
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._dropped = 0

    def after(self, seconds: float, act: Act) -> Timer:
        """Have ``act`` called, on the thread of the timers, in so many seconds. It must not block."""
        timer = Timer(self._now() + seconds, next(self._numbers), act)
        with self._changed:
            if self._thread is None and not self._closed:
                thread = threading.Thread(target=self._run, name="sharedmodel-timers", daemon=True)
                thread.start()  # there may be none to be had: then nothing has happened
                self._thread = thread
            heapq.heappush(self._heap, timer)
            if self._heap[0] is timer:
                self._changed.notify()
        return timer

    def drop(self, timer: Timer) -> None:
        """Do not do it. Idempotent; what it refers to is let go of at once."""
        timer.act = None
        with self._changed:
            self._dropped += 1
            if self._dropped > max(_DROPPED_MOST, len(self._heap) // 2):
                self._heap = [timer for timer in self._heap if timer.act is not None]
                heapq.heapify(self._heap)
                self._dropped = 0

    def let_go(self) -> None:
        """Nothing more is done. Safe in a finalizer: the lock may be this very thread's."""
        with self._changed:
            self._closed = True
            self._heap.clear()
            self._changed.notify()

    def close(self) -> None:
        """Nothing more is done, and the thread has ended. Idempotent."""
        self.let_go()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while (timer := self._next()) is not None:
            act, timer.act = timer.act, None
            try:
                if act is not None:
                    act()
            except BaseException:  # a SystemExit, which would end this thread, and with it all that is to come
                logger.exception("a timer failed")
            del act, timer

    def _next(self) -> Timer | None:
        """The next timer, when its moment has come; None at the end."""
        with self._changed:
            while not self._closed:
                left = self._heap[0].order[0] - self._now() if self._heap else LONGEST
                if left <= 0:
                    return heapq.heappop(self._heap)
                self._changed.wait(min(LONGEST, left))
        return None
