"""Threads that run what would hold up the loop. They are started as needed and go when idle."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Final

IDLE: Final = 20.0
MOST: Final = 512
_MOMENT: Final = 1e-4  # seconds

logger = logging.getLogger("sharedmodel")


class Workers:
    """A pool without a bound worth speaking of: a blocked method must not keep another from running."""

    def __init__(self, name: str = "sharedmodel-worker") -> None:
        self._name = name
        self._queue: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0  # threads that wait for a task, less the tasks that wait for a thread
        self._threads: set[threading.Thread] = set()
        self._closed = False

    @property
    def busy(self) -> int:
        """Threads that are running something."""
        return len(self._threads) - self._idle

    def submit(self, task: Callable[[], Any], *, urgent: bool = False) -> None:
        """Run ``task`` on some thread, soon. Past 512 threads it waits for one, unless it is ``urgent``."""
        with self._lock:
            if not self._closed and (self._idle > 0 or (len(self._threads) >= MOST and not urgent)):
                self._enqueue(task)
                return
            thread = threading.Thread(target=self._work, args=(task,), name=self._name, daemon=True)
            self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError as exc:  # no further threads for this user, or in this container
            logger.error("%s; calls wait for the %d that there are", exc, len(self._threads) - 1)
            self._threads.discard(thread)
            with self._lock:
                self._enqueue(task)

    def _enqueue(self, task: Callable[[], Any]) -> None:
        # The thread that it is meant for is spoken for from here on, not from when it wakes up.
        self._idle -= 1
        self._queue.put(task)

    def close(self, timeout: float) -> bool:
        """Let the threads end; whether they all did in time. Idempotent."""
        self._closed = True
        self._queue.put(None)
        end = time.monotonic() + timeout
        while running := [thread for thread in list(self._threads) if thread is not threading.current_thread()]:
            for thread in running:  # which may still start others
                if thread.ident is not None:
                    thread.join(max(0.0, end - time.monotonic()))
            if time.monotonic() >= end:
                break
            time.sleep(_MOMENT)  # one may be just about to start
        return not any(thread.is_alive() or thread.ident is None for thread in running)

    def _work(self, task: Callable[[], Any] | None) -> None:
        while task is not None:
            try:
                task()
            except BaseException:
                logger.exception("a task of the host failed")
            del task  # an idle thread keeps no object alive
            task = self._next()
        self._threads.discard(threading.current_thread())
        if self._closed:
            self._queue.put(None)  # for the next one

    def _next(self) -> Callable[[], Any] | None:
        if self._closed:
            return None
        with self._lock:
            self._idle += 1
        try:
            return self._queue.get(timeout=IDLE)
        except queue.Empty:
            with self._lock:  # submit() may have counted on this thread between the time-out and here
                try:
                    return self._queue.get_nowait()
                except queue.Empty:
                    self._idle -= 1
                    return None
