"""Where a model's calls go: to its host, or to that one of several that has the least to do."""

from __future__ import annotations

import itertools
import os
from typing import Any, Final

from sharedmodel.board import Board

_TURN: Final = itertools.count(os.getpid())  # so that callers who see all hosts idle begin at different ones


class Instances:
    """The hosts of one model. Pickles by reference."""

    def __init__(self, addresses: list[str], cells: list[int], board: str, directory: str) -> None:
        """``directory``: the address of the server's first host, which knows of them all."""
        self.addresses = addresses
        self.directory = directory
        self._cells = cells
        self._path = board
        self._board: Board | None = None

    def pick(self) -> str:
        """The address of the least busy one; of one that is down only if all are."""
        if len(self.addresses) == 1:
            return self.addresses[0]
        if self._board is None:
            self._board = Board.open(self._path)
        board, count = self._board, len(self._cells)
        first = next(_TURN)
        order = [(first + step) % count for step in range(count)]
        return self.addresses[min(order, key=lambda index: board[self._cells[index]])]

    def __reduce__(self) -> Any:
        return Instances, (self.addresses, self._cells, self._path, self.directory)
