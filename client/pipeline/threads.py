"""Threads for pages. They never keep the program from ending: one whose call does not come back is left behind."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, Generic, TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")

GRACE: Final = 5.0  # seconds that calls which run may take at the end


class Threads(Generic[Given, Made]):
    """So many threads that call one function."""

    def __init__(self, count: int, work: Callable[[Given], Made]) -> None:
        self._work = work
        self._waiting: queue.SimpleQueue[tuple[Future[Made], Given] | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._run, name=f"sharedmodel-page-{number}", daemon=True)
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, given: Given) -> Future[Made]:
        """What the function makes of it, later."""
        future: Future[Made] = Future()
        self._waiting.put((future, given))
        return future

    def end(self) -> None:
        """Take no more, and wait a little for what runs."""
        for _ in self._threads:
            self._waiting.put(None)
        end = time.monotonic() + GRACE
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _run(self) -> None:
        while (each := self._waiting.get()) is not None:
            future, given = each
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(self._work(given))
            except BaseException as exc:
                future.set_exception(exc)
            del each, future, given  # or a page would live until the next one comes
