"""The blocks of a session and who still needs them. Each side owns one direction and maps the other's (see `mapped`).

The owner allocates blocks over its segments (client: requests, host: replies) and counts pins: one for an array
made by `empty()` while it lives, one for each frame that refers to it. A block is reused when its last pin is gone.

`cut_off` is what happens before a fork: arrays that live at that moment become private to each process
(copy on write), and their blocks are never used again.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from operator import index
from typing import Any, Final

import numpy as np

from .arena import PAGE, Arena, Span, rounded
from .errors import ProtocolError
from .roots import Roots
from .segment import Segment
from .tensor import Array, Layout, TensorRef

VIEW_FROM: Final = 256 << 10  # results up to this are copied out (cheaper than a view), larger ones are views
FIRST_SEGMENT: Final = 1 << 20
_LARGEST_STEP: Final = 64 << 20
_HARD: Final = 2  # times the quota, after which results go in frames: those wait until they are read


class NeedRoom(Exception):
    """Raised by a ``grow`` that can't wait for a segment: get one of ``nbytes``, then try again."""

    def __init__(self, nbytes: int) -> None:
        super().__init__(nbytes)
        self.nbytes = nbytes


class Block:
    """A span and how many still need it."""

    __slots__ = ("lent", "pins", "span")

    def __init__(self, span: Span) -> None:
        self.span = span
        self.pins = 1
        self.lent = 0


Grow = Callable[[int], "tuple[int, Segment] | None"]


class Owner:
    """Allocates the blocks of one direction. Thread-safe."""

    def __init__(self, grow: Grow, quota: int, *, lends: bool = False) -> None:
        """``grow(nbytes)`` gives a further segment and its number, or None; ``quota`` is in bytes.

        ``lends``: the peer gives each block back by `take_back`; else its frames' end does, by `unpin`.
        """
        self.lock = threading.Lock()
        self._growing = threading.Lock()
        self.quota = quota
        self._lends = lends
        self._grow = grow
        self._arena = Arena()
        self._segments: dict[int, Segment] = {}
        self._blocks: dict[int, Block] = {}
        self.roots = Roots()  # the arrays in its blocks; those of arrays that are cut off are never used again
        self._serial = 0
        self._closed = False

    def empty(self, shape: Any, dtype: Any, order: Any = "C", most: float = math.inf, above: int = 0) -> Array | None:
        """An uninitialised array in a block of its own, or None when there is no shared memory for it.

        None too where more than ``most`` bytes are in use, and for an array of ``above`` bytes and fewer.
        """
        dtype = np.dtype(dtype)
        if type(shape) is not tuple:
            shape = tuple(map(index, shape)) if hasattr(shape, "__iter__") else (index(shape),)
        nbytes = dtype.itemsize * math.prod(shape)
        if dtype.hasobject or nbytes <= above:
            return None
        # Whole pages, because a fork cuts whole pages off.
        taken = self.allocate(nbytes if nbytes > PAGE else PAGE, most)
        if taken is None:
            return None
        serial, span = taken[0], taken[1].span
        try:
            array: Array = np.ndarray(shape, dtype, self._segments[span.segment].map, span.offset, None, order)
        except BaseException:  # a shape or an order that is none
            self.unpin(serial)
            raise
        # The dictionary is the table of the living, so that adding to it needs no lock.
        self.roots.add(array, tuple.__new__(TensorRef, (span.segment, span.offset, nbytes, serial)))
        return array

    def allocate(self, nbytes: int, most: float = math.inf) -> tuple[int, Block] | None:
        """A new block with one pin, and its serial number. None where more than ``most`` bytes are in use."""
        if (taken := self._take(nbytes, most)) is not None:
            return taken
        # One thread at a time: a hundred calls that found no room would else get a segment each.
        with self._growing:
            for _ in range(4):  # a thread that did not wait here may take a new segment's room before we do
                if (taken := self._take(nbytes, most)) is not None:
                    return taken
                if self._arena.live_bytes > most or not self._add_segment(nbytes):
                    return None
        return None

    def _take(self, nbytes: int, most: float) -> tuple[int, Block] | None:
        """A block in the segments that there are."""
        with self.lock:
            if self.roots.dead:
                self._drain()
            span = self._arena.allocate(nbytes) if self._arena.live_bytes <= most else None
            if span is None:
                return None
            self._serial = serial = self._serial + 1
            self._blocks[serial] = block = Block(span)
            return serial, block

    def place(self, nbytes: int) -> tuple[TensorRef, memoryview, bool] | None:
        """A block for a copy; the flag says that the reader must copy it out (past the quota).

        None where there is no room, or where the reader has not taken out what it should have.
        """
        taken = self.allocate(nbytes, _HARD * self.quota)
        if taken is None:
            return None
        serial, block = taken
        span = block.span
        block.lent = int(self._lends)
        buffer = memoryview(self._segments[span.segment].map)[span.offset : span.offset + span.size]
        over = self._arena.live_bytes > self.quota
        return TensorRef(span.segment, span.offset, nbytes, serial), buffer, over

    def find(self, array: Array) -> TensorRef | None:
        """Where an array lies, if in one of these blocks; the block gets a pin for the frame."""
        roots = self.roots
        root = roots.by_id.get(id(array))
        ref = root.ref if root is not None and root() is array else roots.find(array)
        if ref is not None:
            with self.lock:
                block = self._blocks[ref.block]
                if self._lends:
                    if block.lent:  # the peer has it, and a second result is not the first
                        return None
                    block.lent = 1
                block.pins += 1
        return ref

    def unpin(self, serial: int) -> None:
        """One user of the block fewer. An unknown number is fine: it is gone already."""
        with self.lock:
            self._unpin(serial)

    def done(self, refs: Sequence[TensorRef]) -> None:
        """A frame with these is done with: one user of each block that is of this direction fewer."""
        with self.lock:
            for ref in refs:
                if ref.segment in self._segments:
                    self._unpin(ref.block)

    def take_back(self, serial: int) -> None:
        """The peer gives a block back. Raises ProtocolError for one that it does not have."""
        with self.lock:
            block = self._blocks.get(serial)
            if block is None or not block.lent:
                raise ProtocolError(f"block {serial} given back, which was not lent")
            block.lent -= 1
            self._unpin(serial)

    def view_back(self, ref: TensorRef, layout: Layout) -> Array:
        """A read-only view of a block that the peer refers to while it has it."""
        with self.lock:
            block = self._blocks.get(ref.block)
            if block is None or not block.lent or not _inside(ref, block.span):
                raise ProtocolError(f"{ref} is not lent to this session")
            block.pins += 1
            array = _view(self._segments[ref.segment], ref, layout)
            array.flags.writeable = False
            self.roots.add(array, ref)
        return array

    def trim(self) -> list[int]:
        """Give back the segments without a block in use, all but a first small one; their numbers, for the peer.

        Their pages go at once, even while the peer still maps them.
        """
        with self.lock:
            self._drain()
            idle = [n for n in self._arena.idle() if self._segments[n].size > FIRST_SEGMENT]
            for number in idle:
                self._arena.drop(number)
                segment = self._segments.pop(number)
                segment.forget(0, segment.size)
        return idle

    def close(self) -> None:
        """The peer is gone. Arrays that live keep their memory mapped; there are no further blocks."""
        with self.lock:
            self._closed = True
            self._arena = Arena()
            self._segments.clear()
            self._blocks.clear()
            self.roots = Roots()

    def forget(self) -> None:
        """In a forked child: threads that are not here may have held the locks."""
        self.lock = threading.Lock()
        self._growing = threading.Lock()
        self.close()

    @property
    def live_bytes(self) -> int:
        with self.lock:
            self._drain()
            return self._arena.live_bytes

    @property
    def capacity(self) -> int:
        with self.lock:
            return self._arena.capacity

    def _add_segment(self, nbytes: int) -> bool:
        # Doubling from 1 MB: a small client stays small, a busy one needs few segments.
        size = min(max(FIRST_SEGMENT, self._arena.capacity), _LARGEST_STEP)
        grown = None if self._closed else self._grow(max(size, rounded(nbytes)))
        if grown is not None:
            self.add(*grown)
        return grown is not None

    def add(self, number: int, segment: Segment) -> None:
        """Take a further segment in."""
        with self.lock:
            if self._closed:
                return
            self._segments[number] = segment
            self._arena.add(number, segment.size)

    def _drain(self) -> None:
        for serial in self.roots.bury():
            self._unpin(serial)

    def _unpin(self, serial: int) -> None:
        block = self._blocks.get(serial)
        if block is not None:
            block.pins -= 1
            if block.pins <= 0:
                del self._blocks[serial]
                self._arena.free(block.span)


def _view(segment: Segment, ref: TensorRef, layout: Layout) -> Array:
    # The mapping itself is the buffer: the array holds it, and it goes with the last array.
    return np.ndarray(layout.shape, layout.dtype, segment.map, ref.offset, None, layout.order)


def _inside(ref: TensorRef, span: Span) -> bool:
    return (
        ref.segment == span.segment and span.offset <= ref.offset and ref.offset + ref.nbytes <= span.offset + span.size
    )
