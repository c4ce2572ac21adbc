"""One load at a time, of those of which one has ended the host: which it was will be seen."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Container, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final

from .loads import IN_TURN
from .ward import Ward

LONGEST: Final = 60.0  # seconds, after which a load that is slow, or hangs, keeps the others waiting no longer
LOOK: Final = 1.0  # seconds, until who waits sees that a load is not wanted any more, its own or the one before

GoOn = Callable[[], None]
Room = Callable[[Ward, GoOn], AbstractContextManager[None]]


class InTurn:
    """Gives room for loads as ``room`` does, to each of ``names`` by itself."""

    def __init__(self, names: Container[str], room: Room) -> None:
        self._names = names
        self._room = room
        self._condition = threading.Condition()
        self._holder: GoOn | None = None

    @contextmanager
    def room(self, ward: Ward, go_on: GoOn = lambda: None) -> Iterator[None]:
        """Held while a model is loaded. ``go_on`` raises where that is not wanted any more."""
        with self._turn(ward, go_on), self._room(ward, go_on):
            yield

    @contextmanager
    def _turn(self, ward: Ward, go_on: GoOn) -> Iterator[None]:
        if ward.name not in self._names:
            yield
            return
        go_on()
        ward.slot.hear(IN_TURN)
        end = time.monotonic() + LONGEST
        with self._condition:
            while self._holder is not None and _wanted(self._holder) and time.monotonic() < end:
                self._condition.wait(LOOK)
                go_on()
            self._holder = go_on
        ward.slot.hear(None)
        try:
            yield
        finally:
            with self._condition:
                if self._holder is go_on:
                    self._holder = None
                    self._condition.notify_all()


def _wanted(go_on: GoOn) -> bool:
    try:
        go_on()
    except Exception:
        return False
    return True
