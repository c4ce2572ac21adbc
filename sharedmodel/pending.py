"""A call on its way, as its caller's side sees it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from .tensor import TensorRef

PRIORITY_MOST: Final = 2  # of a call, and the least negated


class Pending:
    """A call on its way. ``ready`` is set when there is news: its end, or an item of its stream."""

    # Class attributes, because a call sets two or three of these and making one must be cheap.
    rid = 0
    ready = False
    done = False
    value: Any = None
    error: Exception | None = None
    gave: Sequence[int] = ()
    told = b""
    refs: Sequence[TensorRef] = ()
    stream: deque[Any] | None = None
    priority = 0

    def __init__(self, method: str = "") -> None:
        self.method = method

    def news(self) -> None:
        """The call has ended, its stream has begun, or an item is here."""
        self.ready = True
