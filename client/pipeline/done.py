"""Which pages are done: eight bytes for each, so that a million of them are nothing."""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np

_SOME: Final = 4096


class Done:
    """A set of keys, by their digests. Two keys of a million share one with a chance of one in ten million."""

    def __init__(self) -> None:
        self._sorted = np.empty(0, np.uint64)
        self._new: list[int] = []

    def add(self, key: str) -> None:
        self._new.append(_digest(key))
        if len(self._new) >= _SOME + len(self._sorted):
            self._merge()

    def __contains__(self, key: str) -> bool:
        self._merge()
        wanted = np.uint64(_digest(key))
        at = int(np.searchsorted(self._sorted, wanted))
        return at < len(self._sorted) and bool(self._sorted[at] == wanted)

    def _merge(self) -> None:
        if self._new:
            self._sorted = np.union1d(self._sorted, np.array(self._new, np.uint64))
            self._new = []


def _digest(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(errors="surrogateescape"), digest_size=8).digest(), "little")
