"""A call that the host makes of a model for itself, such as its canary: it can be told to stop, as any other."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from sharedmodel.call import NEVER

logger = logging.getLogger("sharedmodel.host")


class Chore:
    """What the model may ask of such a call (see `sharedmodel.reply`), and what the watchdog does with it."""

    asked = False  # by no client (see `sharedmodel.reply.asked`)

    def __init__(self, method: str) -> None:
        self.method = method
        self.began = 0.0
        self.made = NEVER
        self.cancelled = False
        self.condemned: Exception | None = None
        self._callbacks: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    def empty(self, shape: Any, dtype: Any, order: Any) -> None:
        """Its results are nobody's: they lie in the host's own memory."""

    def add_callback(self, callback: Callable[[], None]) -> None:
        with self._lock:
            if not self.cancelled:
                self._callbacks.append(callback)
                return
        callback()

    def remove_callback(self, callback: Callable[[], None]) -> None:
        with self._lock:
            self._callbacks = [other for other in self._callbacks if other is not callback]

    def condemn(self, error: Exception) -> None:
        """Tell the method to stop; ``error`` is why."""
        self.condemned = error
        with self._lock:
            self.cancelled = True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            try:
                callback()
            except Exception:  # of the model's own; the watchdog that calls it has others to look after
                logger.exception("a callback of on_cancel() failed")

    def fail(self, error: Exception) -> None:
        """It could not be stopped. Nobody waits for an answer."""
