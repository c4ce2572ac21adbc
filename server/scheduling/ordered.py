"""Things in order of rank, of which each may change its rank or leave at any time."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T", bound=Hashable)

_SLACK: Final = 32


class Ordered(Generic[T]):
    """The smallest rank first; equal ranks in order of `put`. Everything is O(log n), amortised.

    What left or was ranked anew leaves a husk in the heap, two numbers that refer to nothing; husks go
    when they come up or outnumber the things.
    """

    __slots__ = ("_heap", "_items", "_serial", "_serials")

    def __init__(self) -> None:
        self._heap: list[tuple[Any, int]] = []
        self._items: dict[int, T] = {}
        self._serials: dict[T, int] = {}
        self._serial = 0

    def __len__(self) -> int:
        return len(self._serials)

    def __contains__(self, item: T) -> bool:
        return item in self._serials

    def put(self, item: T, rank: Any) -> None:
        """Put in, or rank anew."""
        self.discard(item)
        self._serial += 1
        self._items[self._serial] = item
        self._serials[item] = self._serial
        if len(self._heap) > 2 * len(self._items) + _SLACK:
            self._heap = [record for record in self._heap if record[1] in self._items]
            heapq.heapify(self._heap)
        heapq.heappush(self._heap, (rank, self._serial))

    def discard(self, item: T) -> None:
        """Take out, if it is in."""
        serial = self._serials.pop(item, None)
        if serial is not None:
            del self._items[serial]
            if not self._items:
                self._heap.clear()

    def first(self) -> tuple[Any, T] | None:
        """The smallest rank, and what has it."""
        heap, items = self._heap, self._items
        while heap:
            rank, serial = heap[0]
            if serial in items:
                return rank, items[serial]
            heapq.heappop(heap)
        return None

    def settled(self, rank_of: Callable[[T], Any]) -> T | None:
        """The first by ``rank_of``, where ranks may have grown since they were put; None: it leaves."""
        while (found := self.first()) is not None:
            rank, item = found
            now = rank_of(item)
            if now == rank:
                return item
            if now is None:
                self.discard(item)
            else:
                self.put(item, now)
        return None
