"""One load at a time, of those of which one has ended the host: which it was will be seen."""

from __future__ import annotations

import threading
from collections.abc import Callable, Container, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final

from .loads import IN_TURN
from .ward import Ward

LONGEST: Final = 600.0  # seconds, after which a load that hangs keeps the others waiting no longer

Room = Callable[[Ward, Callable[[], None]], AbstractContextManager[None]]


class InTurn:
    """Gives room for loads as ``room`` does, to each of ``names`` by itself."""

    def __init__(self, names: Container[str], room: Room) -> None:
        self._names = names
        self._room = room
        self._lock = threading.Lock()

    @contextmanager
    def room(self, ward: Ward, go_on: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Held while a model is loaded. ``go_on`` raises where that is not wanted any more."""
        with self._turn(ward), self._room(ward, go_on):
            yield

    @contextmanager
    def _turn(self, ward: Ward) -> Iterator[None]:
        if ward.name not in self._names:
            yield
            return
        ward.slot.hear(IN_TURN)
        mine = self._lock.acquire(timeout=LONGEST)
        try:
            ward.slot.hear(None)
            yield
        finally:
            if mine:
                self._lock.release()
