"""Where the tests of several workers come in: many beside each other, or one alone.

    gate    held by who waits to be alone, so that nobody enters before, and by who enters, for a moment
    room    held by all who are inside: shared, or by one alone

Both are locks on files that are there anyway, so nothing is left behind, and a worker that dies lets go.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Entrance:
    """One worker's. Those with the same two files, of whatever content, take turns."""

    def __init__(self, gate: Path, room: Path) -> None:
        self._gate = gate.open("rb")
        self._room = room.open("rb")

    @contextmanager
    def passed(self, *, alone: bool) -> Iterator[None]:
        """Wait for one's turn, and be inside. Others end by their time-outs, so the wait does too."""
        fcntl.flock(self._gate, fcntl.LOCK_EX)
        try:
            fcntl.flock(self._room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        finally:
            fcntl.flock(self._gate, fcntl.LOCK_UN)
        try:
            yield
        finally:
            # By name: a forked child of the test may hold the same open file a while longer.
            fcntl.flock(self._room, fcntl.LOCK_UN)

    def close(self) -> None:
        self._gate.close()
        self._room.close()
