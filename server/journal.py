"""Which calls a host is executing at this moment, in memory that outlives it: its supervisor reads it after a death.

    slot n, at 32 * n:  u64 session | u64 request, 0 while the slot is free | f64 end

``end``: until when it may run, on the clock of `time.monotonic`, which all processes share; infinity where that is
for ever. The host writes; the supervisor reads when it is dead, or silent.
"""

from __future__ import annotations

import math
import mmap
import os
import struct
from collections import deque
from collections.abc import Iterator
from typing import Final

SLOTS: Final = 1024  # calls beyond as many at once are not noted, and so never suspected
_STRIDE: Final = 32
_SIZE: Final = SLOTS * _STRIDE
_SLOT: Final = struct.Struct("<QQd")
_FREE: Final = bytes(_SLOT.size)


class Journal:
    """The host's end, or the supervisor's."""

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, _SIZE)
        self._free = deque(range(SLOTS))

    @staticmethod
    def create() -> int:
        """A descriptor of a new one, for both to map."""
        fd = os.memfd_create("sharedmodel-journal")
        os.ftruncate(fd, _SIZE)
        return fd

    def enter(self, session: int, request: int, end: float = math.inf) -> int:
        """A call begins to execute; its slot, or -1. Thread-safe: a deque's pop is atomic.

        ``session`` is 0 where the host calls by itself.
        """
        try:
            slot = self._free.pop()
        except IndexError:
            return -1
        _SLOT.pack_into(self._map, slot * _STRIDE, session, request, end)
        return slot

    def leave(self, slot: int) -> None:
        """It is over."""
        if slot >= 0:
            at = slot * _STRIDE
            self._map[at : at + _SLOT.size] = _FREE
            self._free.append(slot)

    def executing(self) -> list[list[int]]:
        """``[session, request]`` of each call that was executing when the writer died."""
        return [[session, request] for session, request, _ in self._taken() if session]

    def ends(self) -> list[float]:
        """Until when each call may run that is executing now."""
        return [end for _, _, end in self._taken()]

    def _taken(self) -> Iterator[tuple[int, int, float]]:
        slots = (_SLOT.unpack_from(self._map, slot * _STRIDE) for slot in range(SLOTS))
        return ((session, request, end) for session, request, end in slots if request)

    def clear(self) -> None:
        """For the next host."""
        self._map[:] = bytes(_SIZE)

    def close(self) -> None:
        self._map.close()
