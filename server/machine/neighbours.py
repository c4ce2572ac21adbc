"""What the hosts of one server tell each other of their models' memory, in memory that all of them map.

    header         u32, one more than the highest number of a host
    host n         u32, how often it has told something; two pages, which it writes in turn
    page           u32 length | u32 CRC-32 | JSON [its models, models of others that it asks to go, and why]

Each host writes its own part only, and its supervisor clears that when the host is dead. What a host reads is whole,
and a moment old at most. Between looking at the others and telling them of a load that begins there is a lock, which
goes with the process that has it: what two of them begin at once fits, or one of them waits.
"""

from __future__ import annotations

import fcntl
import json
import logging
import mmap
import os
import struct
import threading
import time
import zlib
from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from sharedmodel.board import CELLS

from .governor import Model

MOST: Final = CELLS  # hosts
_STRIDE: Final = 16 << 10
_HEAD: Final = 16
_PAGE: Final = (_STRIDE - _HEAD) // 2
_COUNT: Final = struct.Struct("<I")
_SUM: Final = struct.Struct("<II")
_PATIENCE: Final = 10.0  # seconds for the lock; a host that is stopped may have it
_AGAIN: Final = 0.005
_LOOKS: Final = 100  # at what is told anew all the time
_COARSE: Final = 5.0  # seconds
_FEW: Final = 10  # asks, where there is little room
_WORDS: Final = 200

logger = logging.getLogger("sharedmodel.host")


class Neighbours:
    """One host's view. `tell` and `ask` are for one thread at a time."""

    def __init__(self, fd: int = -1, number: int = 0) -> None:
        """``fd``: of `create`, inherited, which stays open for as long as this process lives; without one there are
        no others. ``number``: which of them this is."""
        self.fd = fd
        self.number = number
        self._map = mmap.mmap(fd, 0 if fd >= 0 else 2 * _STRIDE)
        self._turn = threading.Lock()  # among this process's threads, for which the other lock is one and the same
        self._models: list[Model] = []
        self._asks: dict[Hashable, list[list[Any]]] = {}
        self._gave_up = False

    @staticmethod
    def create() -> int:
        """A descriptor of what all of them map."""
        fd = os.memfd_create("sharedmodel-neighbours")
        os.ftruncate(fd, (MOST + 1) * _STRIDE)
        return fd

    def clear(self) -> None:
        """The host is dead, or not there yet: for its supervisor."""
        at = _at(self.number)
        self._map[at : at + _HEAD] = bytes(_HEAD)
        _COUNT.pack_into(self._map, 0, max(self.number + 1, self._count(0)))

    def close(self) -> None:
        """Map it no more."""
        self._map.close()

    # -- for a host --------------------------------------------------------------------------------------

    @contextmanager
    def turn(self) -> Iterator[None]:
        """No other host looks and tells meanwhile; none waits for longer than ten seconds for one that is stopped."""
        with self._turn:
            locked = self.fd >= 0 and self._lock()
            try:
                yield
            finally:
                if locked:
                    fcntl.lockf(self.fd, fcntl.LOCK_UN)

    def tell(self, models: Iterable[Model]) -> None:
        """What this host has from now on."""
        self._models = list(models)
        asks = [ask for asks in self._asks.values() for ask in asks]
        data = _packed(self._models, asks)
        if len(data) > _PAGE - _SUM.size:
            asks = asks[:_FEW]
            while len(data := _packed(_folded(self._models), asks)) > _PAGE - _SUM.size:
                asks.pop()
        at = _at(self.number)
        told = self._count(at) + 1
        page = at + _HEAD + told % 2 * _PAGE
        self._map[page : page + _SUM.size + len(data)] = _SUM.pack(len(data), zlib.crc32(data)) + data
        _COUNT.pack_into(self._map, at, told & 0xFFFFFFFF)

    def ask(self, load: Hashable, models: Iterable[Model], why: str = "") -> None:
        """Ask for these models of other hosts to go, for a load; and for no others any more."""
        asks = [[model.host, model.name, model.used, why[:_WORDS]] for model in models]
        if asks != self._asks.get(load, []):
            self._asks[load] = asks
            self.tell(self._models)
        if not asks:
            self._asks.pop(load, None)

    def differ(self, models: Iterable[Model]) -> bool:
        """Whether these are others than was told; when one was used is told every few seconds, not after each call."""
        return list(map(_roughly, models)) != list(map(_roughly, self._models))

    def models(self) -> list[Model]:
        """Those of all other hosts."""
        return [Model._make([*fields, number]) for number, (models, _) in self._others() for fields in models]

    def asked(self) -> dict[str, tuple[float, str]]:
        """Which of this host's models others ask to go: when they think that it was last used, and why."""
        asks = [ask for _, (_, asks) in self._others() for ask in asks]
        return {name: (used, why) for number, name, used, why in asks if number == self.number}

    def _others(self) -> Iterator[tuple[int, list[Any]]]:
        for number in range(min(self._count(0), MOST) if self.fd >= 0 else 0):
            if number != self.number and (told := self._told(number)) is not None:
                yield number, told

    def _told(self, number: int) -> list[Any] | None:
        at = _at(number)
        for _ in range(_LOOKS):
            if not (told := self._count(at)):
                break
            page = at + _HEAD + told % 2 * _PAGE
            length, crc = _SUM.unpack_from(self._map, page)
            data = self._map[page + _SUM.size : page + _SUM.size + min(length, _PAGE)]
            if zlib.crc32(data) == crc and self._count(at) == told:
                found: list[Any] = json.loads(data)
                return found
        return None

    def _lock(self) -> bool:
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            with suppress(BlockingIOError, PermissionError):  # either says that another has it
                fcntl.lockf(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            time.sleep(_AGAIN)
        if not self._gave_up:
            logger.warning("another host has been looking at memory for %g s: loads here go on without it", _PATIENCE)
        self._gave_up = True  # and said so
        return False

    def _count(self, at: int) -> int:
        found: int = _COUNT.unpack_from(self._map, at)[0]
        return found


def _at(number: int) -> int:
    return (number + 1) * _STRIDE


def _packed(models: list[Model], asks: list[list[Any]]) -> bytes:
    # All but `host`, which the reader knows.
    return json.dumps([[model[:-1] for model in models], asks]).encode()


def _roughly(model: Model) -> Model:
    return model._replace(used=model.used // _COARSE, running=min(1, model.running))


def _folded(models: list[Model]) -> list[Model]:
    """More models than there is room for: what they take in all, which counts; none of them can be asked to go."""
    found: dict[tuple[str, bool], Model] = {}
    for model in models:
        key = model.device, model.loading
        before = found.get(key, Model("others", 0, *key, keep=True))
        found[key] = before._replace(taken=before.taken + model.taken)
    return list(found.values())
