"""Where a model's calls go: to its host, or to that one of several that has the least to do."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Callable
from typing import Any, Final

from sharedmodel.board import Board

_LOOK: Final = 1.0  # seconds between two looks whether the server, and with it the board, is another
_TURN: Final = itertools.count(os.getpid())  # so that callers who see all hosts idle begin at different ones


class Instances:
    """The hosts of one model. Pickles by reference."""

    def __init__(
        self,
        addresses: list[str],
        cells: list[int],
        board: str,
        directory: str,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """``directory``: the address of the server's first host, which knows of them all."""
        self.addresses = addresses
        self.directory = directory
        self._cells = cells
        self._path = board
        self._board: Board | None = None
        self._now = now
        self._look = now() + _LOOK

    def pick(self) -> str:
        """The address of the least busy one; of one that is down only if all are."""
        if len(self.addresses) == 1:
            return self.addresses[0]
        board, count = self._newest(), len(self._cells)
        first = next(_TURN)
        order = [(first + step) % count for step in range(count)]
        return self.addresses[min(order, key=lambda index: board[self._cells[index]])]

    def _newest(self) -> Board:
        """The server's board, or its last one while it has none. One that was replaced goes with its last reader."""
        board = self._board
        if board is None:
            board = self._board = Board.open(self._path)
        elif (now := self._now()) >= self._look:
            self._look = now + _LOOK
            with contextlib.suppress(OSError):
                if not board.lies_at(self._path):
                    board = self._board = Board.open(self._path)
        return board

    def __reduce__(self) -> Any:
        return Instances, (self.addresses, self._cells, self._path, self.directory)
