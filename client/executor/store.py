"""Futures by the task's number or name, the last ones that have ended included."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from typing import Any

from sharedmodel.errors import BadArgument


class Store(Mapping[Any, "Future[Any]"]):
    """What was submitted under an id. Of tasks that have ended it keeps the last ``keep``. Thread-safe."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._lock = threading.RLock()
        self._futures: dict[Any, Future[Any]] = {}
        self._ended: dict[Any, None] = {}  # in the order in which they ended

    def add(self, task_id: Any, future: Future[Any]) -> None:
        """Raises BadArgument where a task of that id is on its way."""
        with self._lock:
            if task_id in self._futures and task_id not in self._ended:
                raise BadArgument(f"task {task_id!r} is on its way already")
            self._ended.pop(task_id, None)
            self._futures[task_id] = future

    def ended(self, task_id: Any, future: Future[Any]) -> None:
        """A task has ended. Of those that did, the oldest go."""
        with self._lock:
            if self._futures.get(task_id) is not future:
                return
            self._ended[task_id] = None
            while len(self._ended) > self._keep:
                oldest = next(iter(self._ended))
                del self._ended[oldest], self._futures[oldest]

    def drop(self, task_id: Any) -> None:
        """Forget a task; it goes on if it has not ended. One that is not here is fine."""
        with self._lock:
            self._ended.pop(task_id, None)
            self._futures.pop(task_id, None)

    def __getitem__(self, task_id: Any) -> Future[Any]:
        with self._lock:
            return self._futures[task_id]

    def __iter__(self) -> Iterator[Any]:
        with self._lock:
            return iter(list(self._futures))

    def __len__(self) -> int:
        return len(self._futures)
