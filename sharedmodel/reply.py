"""What a served method may ask of the call it serves: memory for its result, and news of its end.

    def run(self, x):
        out = reply.empty(x.shape, x.dtype)     # lies where the caller will read it: no copy
        with reply.on_cancel(self.stop):        # called from another thread if the caller gives up
            ...
        return out

Outside a call, in the library itself or in a unit test, `empty` is `numpy.empty` and nobody cancels.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

import numpy as np

from .tensor import Array

_MOMENT: Final = 0.25  # seconds


class Serving(Protocol):
    """The call that a thread is serving."""

    def empty(self, shape: Any, dtype: Any, order: Any) -> Array | None: ...

    @property
    def cancelled(self) -> bool: ...

    def add_callback(self, callback: Callable[[], None]) -> None: ...

    def remove_callback(self, callback: Callable[[], None]) -> None: ...


class _Current(threading.local):
    call: Serving | None = None


current = _Current()


def empty(shape: Any, dtype: Any = float, order: Any = "C") -> Array:
    """An uninitialised array for a result; returned as it is (or as a contiguous view), it is not copied."""
    call = current.call
    array = call.empty(shape, dtype, order) if call is not None else None
    return np.empty(shape, dtype, order) if array is None else array


def cancelled() -> bool:
    """Whether the caller has given up: cancelled, past its deadline, or dead."""
    return current.call is not None and current.call.cancelled


def asked() -> bool:
    """Whether a client waits for what this thread does. Not so for what the host asks for itself, such as a canary,
    nor outside a call."""
    call = current.call
    return call is not None and getattr(call, "asked", True)


def time_left() -> float | None:
    """Seconds until the caller gives up, less a moment for the answer to reach it; None: it never does."""
    call: Any = current.call
    deadline = getattr(call, "deadline", None)
    if deadline is None:
        return None
    moment = min(_MOMENT, (deadline - call.taken) / 10)
    left: float = deadline - moment - time.monotonic()
    return max(0.0, left)


class on_cancel:
    """Have ``callback`` called, once, from another thread, if the caller gives up within the block."""

    __slots__ = ("_call", "_callback")

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback = callback
        self._call = current.call

    def __enter__(self) -> None:
        if self._call is not None:
            self._call.add_callback(self._callback)

    def __exit__(self, *_: object) -> None:
        if self._call is not None:
            self._call.remove_callback(self._callback)
