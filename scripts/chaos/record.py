"""What the clients write down, in a file that outlives them: a row for each lane (a thread or a task).

The lane writes, the one who kills reads. A word is written whole; times are of the monotonic clock, in ns.
"""

from __future__ import annotations

import time
from typing import Any, Final

import numpy as np

CLIENTS: Final = 8
LANES: Final = 2  # a client
MODELS: Final = ("shared", "apart")
CALLS, BEGAN, SLOWEST, WRONG, FAILED = range(5)
_ANSWERED: Final = 5  # at, by whom; for each model
_WIDTH: Final = _ANSWERED + 2 * len(MODELS)


class Lane:
    """One row, as its lane writes it."""

    def __init__(self, row: Any) -> None:
        self._row = row
        row[BEGAN] = 0

    def begin(self) -> None:
        """A call begins."""
        self._row[BEGAN] = time.monotonic_ns()

    def end(self, model: int, pid: int | None, flaw: int | None) -> None:
        """It is over: answered by a process, if that is known, or with a flaw, WRONG or FAILED."""
        row, now = self._row, time.monotonic_ns()
        row[CALLS] += 1
        row[SLOWEST] = max(int(row[SLOWEST]), now - int(row[BEGAN]))
        if flaw is not None:
            row[flaw] += 1
        elif pid is not None:
            row[_ANSWERED + 2 * model] = 0  # so that no pid is read with another's time
            row[_ANSWERED + 2 * model + 1] = pid
            row[_ANSWERED + 2 * model] = now
        row[BEGAN] = 0


class Record:
    """The whole file."""

    def __init__(self, path: str, *, new: bool = False) -> None:
        shape = (CLIENTS, LANES, _WIDTH)
        self._words = np.memmap(path, "u8", "w+" if new else "r+", shape=shape)

    def lane(self, client: int, lane: int) -> Lane:
        """For the lane to write."""
        return Lane(self._words[client, lane])

    def forget(self, client: int) -> None:
        """A client is dead: its calls are over."""
        self._words[client, :, BEGAN] = 0

    def of_lanes(self, word: int) -> list[int]:
        """One of the counts, lane by lane."""
        return [int(count) for count in self._words[:, :, word].ravel()]

    @property
    def slowest(self) -> float:
        """The longest call so far, in seconds."""
        return int(self._words[:, :, SLOWEST].max()) / 1e9

    def oldest(self) -> tuple[float, int]:
        """How long the call runs that began first, in seconds, and its client; 0 s where none runs."""
        began = self._words[:, :, BEGAN].copy()
        began[began == 0] = now = time.monotonic_ns()
        client = int(began.min(axis=1).argmin())
        return max(0, now - int(began.min())) / 1e9, client

    def answered(self, model: str, since: int, not_by: int) -> int | None:
        """The earliest answer noted after a moment that another process than ``not_by`` gave; None if there is none."""
        column = _ANSWERED + 2 * MODELS.index(model)
        rows = self._words[:, :, column : column + 2].reshape(-1, 2).tolist()
        return min((at for at, pid in rows if at > since and pid != not_by), default=None)
