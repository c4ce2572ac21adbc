"""The arguments that a model keeps beyond its call.

    HELD     [block, ticket] …   goes ahead of the answer: the caller may not use these blocks again yet
    RELEASE  ticket …            goes with a later frame, once the views are gone

Owns the tickets. Finalizers only append to a queue (see `roots`); `released` empties it.
"""

from __future__ import annotations

import itertools
import weakref
from collections import deque
from typing import Any

from . import wire
from .roots import drain
from .tensor import Array

# A block of the caller's, and the view of it that was given to the method.
Input = tuple[int, "weakref.ref[Array]"]


class _Kept(weakref.ref[Array]):
    """A view of the caller's block that the model kept; its ticket goes into ``sink`` when it lets go."""

    __slots__ = ("sink", "ticket")
    ticket: int
    sink: deque[int]


def _let_go(ref: Any) -> None:
    ref.sink.append(ref.ticket)


class Kept:
    """The views that one session's calls have left behind in the models."""

    def __init__(self) -> None:
        self.let_go: deque[int] = deque()  # tickets of views that are gone, of which the caller does not know yet
        self._refs: dict[int, _Kept] = {}
        self._tickets = itertools.count(1)

    def held(self, rid: int, inputs: list[Input]) -> bytes:
        """The frames that tell which inputs of a call something here still refers to; empty where none is."""
        held = []
        for serial, ref in inputs:
            if (array := ref()) is not None:
                held.append([serial, self._watch(array)])
        return wire.frames([wire.HELD, rid], held)

    def _watch(self, array: Array) -> int:
        ref = _Kept(array, _let_go)
        ref.sink = self.let_go
        ref.ticket = next(self._tickets)
        self._refs[ref.ticket] = ref
        return ref.ticket

    def released(self) -> bytes:
        """The frames that tell what was let go since the last time."""
        tickets = drain(self.let_go)
        for ticket in tickets:
            self._refs.pop(ticket, None)
        return wire.frames([wire.RELEASE], tickets)
