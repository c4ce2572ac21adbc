"""Arrays that lie in shared blocks: how they are found again, and how their death is noticed.

Finalizers run at any moment, in any thread, with any lock held: they append to a queue and do nothing
else; `drain` empties it in the course of the next call.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from .arena import PAGE
from .tensor import Array, TensorRef


def drain(queue: deque[Any]) -> list[Any]:
    """Empty a queue that other threads fill and drain too."""
    taken = []
    try:
        while True:
            taken.append(queue.popleft())
    except IndexError:
        return taken


class Root(weakref.ref[Array]):
    """An array that spans a block. Views of it keep it alive; when it dies it is put into a queue."""

    # Set after creation: a weakref's own constructor, in C, takes a fifth of the time of one written here.
    __slots__ = ("key", "ref")
    key: int
    ref: TensorRef


class Roots:
    """The arrays that lie in shared blocks, found by identity."""

    def __init__(self) -> None:
        self.by_id: dict[int, Root] = {}
        self.dead: deque[Root] = deque()
        self._mourn: Callable[[Any], None] = self.dead.append  # a finalizer in C: no frame for each

    def add(self, array: Array, ref: TensorRef) -> None:
        root = Root(array, self._mourn)
        root.key = key = id(array)
        root.ref = ref
        self.by_id[key] = root

    def bury(self) -> list[int]:
        """The blocks of those that died since the last time."""
        dead, by_id, blocks = self.dead, self.by_id, []
        try:
            while True:  # other threads take from it too
                root = dead.popleft()
                found = by_id.pop(root.key, None)
                if found is not None and found is not root:  # a new array has its number
                    by_id.setdefault(root.key, found)
                blocks.append(root.ref.block)
        except IndexError:
            return blocks

    def find(self, array: Array) -> TensorRef | None:
        """Where an array, or a contiguous view of one, lies in shared memory."""
        root = self.by_id.get(id(array))
        if root is not None and root() is array:
            return root.ref
        base: Any = array.base
        if base is None or (root := self.by_id.get(id(base))) is None:
            return None
        owner: Any = root()
        if owner is not base:
            return None
        offset = array.ctypes.data - owner.ctypes.data
        if offset < 0 or offset + array.nbytes > root.ref.nbytes:
            return None
        return root.ref._replace(offset=root.ref.offset + offset, nbytes=array.nbytes)

    def at(self, address: int, nbytes: int) -> Array | None:
        """The bytes that lie at an address, if in one of the arrays; contiguous ones only."""
        for root in list(self.by_id.values()):
            array: Any = root()
            if array is None or not array.flags.forc:
                continue
            offset = address - array.__array_interface__["data"][0]
            if 0 <= offset <= array.nbytes - nbytes:
                found: Array = array.ravel("K").view(np.uint8)[offset : offset + nbytes]
                return found
        return None

    @property
    def living(self) -> bool:
        """Whether one of them lives."""
        return any(root() is not None for root in list(self.by_id.values()))

    def cut_off(self) -> None:
        """Before a fork: those that live become private to each process. None of them is found again."""
        for root in list(self.by_id.values()):
            if (array := root()) is not None:
                _make_private(array, root.ref)
        self.by_id.clear()


def _make_private(array: Array, ref: TensorRef) -> None:
    """Cut the pages of an array's block off from the peer. Blocks that arrays live in span whole pages."""
    start = ref.offset // PAGE * PAGE
    mapping: Any = array.base
    mapping.make_private(start, -(-(ref.offset + ref.nbytes) // PAGE) * PAGE - start)
