"""The shared memory of a session, at the host: the client's segments and those for replies.

Owns both (the host creates every segment) and how much a client may have; where arrays are put and found for
the encoder and the decoder. Knows no frames but those that announce a segment or its end.
"""

from __future__ import annotations

import itertools
import os
import weakref
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

import numpy as np

from . import segment, wire
from .encoder import INLINE_MAX
from .entry import Limits
from .errors import ProtocolError
from .kept import Input
from .mapped import Mapped
from .memory import FIRST_SEGMENT, Owner
from .tensor import Array, Layout, TensorRef

COPY_FROM: Final = 8 << 20  # copying as much takes long
_NEWS_AGAIN: Final = 3600.0  # seconds; a small /dev/shm is full for large arrays only, again and again

Send = Callable[[bytes, "tuple[int, ...]"], None]


class Warn(Protocol):
    """Say something of a kind, unless it was said lately (see `Service.warn_once`)."""

    def __call__(self, key: str, text: str, again: float = ...) -> None: ...


class Room:
    """The segments of one session and what lies in them."""

    def __init__(self, limits: Limits, foreign: bool, send: Send, warn: Warn) -> None:
        """``foreign``: the client is another user; ``send`` takes a frame and the descriptors to go with it."""
        self.foreign = foreign
        self.shared_memory = True
        self.requests = Mapped()
        self.replies = Owner(self._grow_replies, limits.reply_quota, lends=True)
        self.request_bytes = 0
        self._limits = limits
        self._send = send
        self._warn = warn
        self._numbers = itertools.count(1)
        self._closed = False

    # -- arrays on their way out ---------------------------------------------------------------------

    def find(self, array: Array) -> TensorRef | None:
        return self.replies.find(array) if self.replies.roots.by_id else None

    def place(self, nbytes: int) -> tuple[TensorRef, memoryview, bool] | None:
        return self.replies.place(nbytes) if self.shared_memory else None

    def undo(self, refs: list[TensorRef]) -> None:
        """Their message was not sent."""
        self.take_back(ref.block for ref in refs)

    def take_back(self, serials: Iterable[int]) -> None:
        """The client gives blocks back. Raises ProtocolError for one that it does not have."""
        for serial in serials:
            self.replies.take_back(serial)

    def empty(self, shape: Any, dtype: Any, order: Any) -> Array | None:
        """An array for a result, or None where it had better be made elsewhere."""
        if not self.shared_memory:
            return None
        # Past the quota it is made and copied as any other; a small one rides in the frame, which costs less.
        return self.replies.empty(shape, dtype, order, self.replies.quota, INLINE_MAX)

    # -- arrays that have come -----------------------------------------------------------------------

    def view(self, ref: TensorRef, layout: Layout, inputs: list[Input]) -> Array:
        """The caller's array, read-only. Another user's is copied first: it might change under us."""
        segment = self.requests.segments.get(ref.segment)
        if segment is None:
            return self.replies.view_back(ref, layout)
        if ref.offset + ref.nbytes > segment.size:
            raise ProtocolError(f"{ref} lies outside the session's segments")
        array: Array = np.ndarray(layout.shape, layout.dtype, segment.map, ref.offset, None, layout.order)
        if self.foreign:
            array = array.copy(layout.order)
            array.flags.writeable = False
        else:  # read-only by its mapping
            inputs.append((ref.block, weakref.ref(array)))
        return array

    # -- segments ------------------------------------------------------------------------------------

    def add_requests(self, nbytes: int) -> int | None:
        """A further segment for the client's arrays, sent to it; None when it may have no more."""
        nbytes = max(nbytes, FIRST_SEGMENT)  # or a million small ones would use up the maps of the process
        if not self.shared_memory or self.request_bytes + nbytes > self._limits.request_bytes:
            return None
        made = self._make_segment(nbytes, of_requests=True)
        if self._closed:  # meanwhile: `close` has not seen this one
            self.requests.segments.clear()
        return made[0] if made is not None else None

    def give_up(self, numbers: list[int]) -> None:
        """The client needs these segments of its arrays no more. Raises KeyError for one that it does not have."""
        for number in numbers:
            self.request_bytes -= self.requests.segments.pop(number).size

    def show(self, shown: segment.Segment) -> int:
        """Send the client a segment that is nobody's of this session, and the number under which it finds it."""
        number = next(self._numbers)
        self._send(wire.frame([wire.SEGMENT, number, shown.size, shown.kind, False]), (os.dup(shown.fd),))
        return number

    def trim(self) -> None:
        """Give back room for replies that nothing lies in."""
        if gone := self.replies.trim():
            self._send(wire.frame([wire.GONE, gone]), ())

    def _grow_replies(self, nbytes: int) -> tuple[int, segment.Segment] | None:
        return self._make_segment(nbytes, of_requests=False)

    def _make_segment(self, nbytes: int, *, of_requests: bool) -> tuple[int, segment.Segment] | None:
        kind = self._limits.kind or ("memfd" if self.foreign else "shm")
        try:
            made = segment.create(nbytes, kind, writable=not of_requests)
            theirs = os.dup(made.fd)
        except (OSError, MemoryError) as exc:
            self._warn("memory", f"no shared memory for {nbytes} bytes: {exc}; they go in frames")
            return None
        if made.kind != kind:
            text = f"{segment.DIRECTORY} has no room for {nbytes} bytes: memory files take its place, at the same speed"
            self._warn("shm", text, _NEWS_AGAIN)
        number = next(self._numbers)
        if of_requests:  # before the client hears of it: not only the thread that asked may use it at once
            self.requests.add(number, made)
            self.request_bytes += made.size
        self._send(wire.frame([wire.SEGMENT, number, made.size, made.kind, of_requests]), (theirs,))
        made.close()
        return number, made

    def close(self) -> None:
        """The client is gone. Idempotent."""
        self._closed = True
        self.requests.segments.clear()
        self.replies.close()
