"""The tasks of one kind of worker: a queue, and attendants that begin as there is work for them."""

from __future__ import annotations

import contextlib
import threading
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from sharedmodel.starting import must_not_be_importing
from sharedmodel.timers import Timers

from .attendant import Attendant, Manner
from .gate import Gate
from .task import Task


class Group:
    """``size`` workers at most. Thread-safe; `let_go` may be called by a finalizer."""

    def __init__(self, name: str, size: int, manner: Manner, timers: Timers, gate: Gate) -> None:
        self._name = name
        self._size = size
        self._manner = manner
        self._timers = timers
        self._gate = gate
        # Its put() may be called while this very thread is in another: a finalizer needs that.
        self._queue: SimpleQueue[Any] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._attendants: list[Attendant] = []
        self._threads: list[threading.Thread] = []
        self._stopped = False

    def put(self, task: Task) -> None:
        """Have a task done."""
        if not self._idle.acquire(blocking=False) and len(self._threads) < self._size:
            self._add()
        self._queue.put(task)

    def _add(self) -> None:
        must_not_be_importing("a worker")
        with self._lock:
            number = len(self._threads)
            if number >= self._size:
                return
            attendant = Attendant(self._manner, self._timers)
            name = f"sharedmodel-{self._name}-{number}"
            attend = partial(self._gate.freely, partial(self._attend, attendant))
            thread = threading.Thread(target=attend, name=name, daemon=True)
            thread.start()  # before it counts: there may be none to be had
            self._attendants.append(attendant)
            self._threads.append(thread)

    def _attend(self, attendant: Attendant) -> None:
        while (task := self._next()) is not None:
            if self._stopped:
                task.cancel()
            attendant.run(task)
            del task
        attendant.end()

    def _next(self) -> Task | None:
        """The next task; None, to each attendant, once all are done after `let_go`."""
        try:
            task: Task | None = self._queue.get_nowait()
        except Empty:
            self._idle.release()
            task = self._queue.get()
        if task is None:
            self._queue.put(None)
        return task

    # -- the end -----------------------------------------------------------------------------------------

    def let_go(self) -> None:
        """Nothing more will come: attendants end after what is there. Idempotent, and takes no lock."""
        self._queue.put(None)

    def cancel_waiting(self) -> None:
        """Cancel what has not begun."""
        with contextlib.suppress(Empty):
            while True:
                task = self._queue.get_nowait()
                if task is None:
                    self._queue.put(None)
                    return
                task.future.cancel()

    def stop(self) -> None:
        """Cancel everything and end the workers, at once."""
        self._stopped = True
        self.cancel_waiting()
        for attendant in self._attendants:
            attendant.stop()

    def join(self) -> None:
        """Until all attendants have ended, after `let_go`."""
        for thread in self._threads:
            thread.join()
