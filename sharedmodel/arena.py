"""Blocks inside segments: who has which bytes. No shared memory, no locks, no clock: numbers only.

One arena serves one direction of one session and is used by the process that owns it alone, so the
other side's death can't leave it half changed; none of its state lies in shared memory.

    segment 0   |block|block|··free··|block|······ never used yet ······|
                                                   ^ its mark
    quick lists  {size: [blocks given back, the last one on top]}

A block is reused at its own size, most recently freed first: first touch of fresh pages costs more
than anything else a call does (4 MB: 3.4 ms fresh, 0.09 ms warm). Sizes are rounded up to eight steps
an octave, so that nearly equal tensors share blocks. A segment whose blocks are all back starts anew.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

ALIGN: Final = 64
PAGE: Final = 4096


class Span(NamedTuple):
    """A piece of a segment."""

    segment: int
    offset: int
    size: int


class _Room:
    __slots__ = ("live", "mark", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.mark = 0
        self.live = 0


@lru_cache(maxsize=4096)
def rounded(nbytes: int) -> int:
    """The size of the block that holds ``nbytes``: 64-byte steps to a page, then eight an octave."""
    if nbytes <= PAGE:
        return max(ALIGN, -(-nbytes // ALIGN) * ALIGN)
    step = max(PAGE, 1 << (nbytes - 1).bit_length() - 4)
    return -(-nbytes // step) * step


class Arena:
    """Allocates spans over the segments it has been given."""

    def __init__(self) -> None:
        self._rooms: dict[int, _Room] = {}
        self._quick: dict[int, list[Span]] = {}
        self._live: set[Span] = set()
        self.live_bytes = 0

    def add(self, segment: int, size: int) -> None:
        """Take a segment in. Its number must be new."""
        if segment in self._rooms:
            raise ValueError(f"segment {segment} is in the arena already")
        self._rooms[segment] = _Room(size)

    def allocate(self, nbytes: int) -> Span | None:
        """A span of at least ``nbytes``, or None when a further segment is needed."""
        size = rounded(nbytes)
        quick = self._quick.get(size)
        span = quick.pop() if quick else self._carve(size)
        if span is not None:
            self._live.add(span)
            self._rooms[span.segment].live += 1
            self.live_bytes += span.size
        return span

    def free(self, span: Span) -> None:
        """Take a span back. Raises ValueError for one that is not out."""
        if span not in self._live:
            raise ValueError(f"{span} is not allocated")
        self._live.remove(span)
        self._rooms[span.segment].live -= 1
        self.live_bytes -= span.size
        self._quick.setdefault(span.size, []).append(span)

    def idle(self) -> list[int]:
        """The segments without a live block."""
        return [number for number, room in self._rooms.items() if not room.live]

    def drop(self, segment: int) -> None:
        """Forget a segment. Raises ValueError while it has live blocks."""
        if self._rooms[segment].live:
            raise ValueError(f"segment {segment} has live blocks")
        del self._rooms[segment]
        self._unquick(segment)

    @property
    def capacity(self) -> int:
        """Bytes in all segments."""
        return sum(room.size for room in self._rooms.values())

    def _carve(self, size: int) -> Span | None:
        return self._from_marks(size) or self._from_larger(size) or self._from_idle(size)

    def _from_marks(self, size: int) -> Span | None:
        align = PAGE if size >= PAGE else ALIGN
        for number, room in self._rooms.items():
            offset = -(-room.mark // align) * align
            if offset + size <= room.size:
                room.mark = offset + size
                return Span(number, offset, size)
        return None

    def _from_larger(self, size: int) -> Span | None:
        """A free block of up to twice the size: warm, and not much is wasted."""
        fitting = [free for free, spans in self._quick.items() if spans and size < free <= 2 * size]
        return self._quick[min(fitting)].pop() if fitting else None

    def _from_idle(self, size: int) -> Span | None:
        for number, room in self._rooms.items():
            if not room.live and size <= room.size:
                self._unquick(number)
                room.mark = size
                return Span(number, 0, size)
        return None

    def _unquick(self, segment: int) -> None:
        for size, spans in self._quick.items():
            self._quick[size] = [span for span in spans if span.segment != segment]
