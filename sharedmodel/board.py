"""How busy each of several hosts of one model is: a file that they write and clients read, mapped by all.

    cell of host n, at 64 * n:  u32, its calls under way; DOWN while it serves none, LAST while it can only refuse them

Each cell has one writer. What is read may be a moment old: it only decides whom to ask.
"""

from __future__ import annotations

import mmap
import os
import threading
from typing import Final

CELLS: Final = 1024
DOWN: Final = 0xFFFFFFFF
LAST: Final = DOWN - 1
_STRIDE: Final = 64  # a cache line, so that writers don't disturb one another
_SIZE: Final = CELLS * _STRIDE


class Board:
    """The file, mapped."""

    def __init__(self, fd: int, *, writable: bool) -> None:
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        self._stat = os.fstat(fd)
        self._words = memoryview(mmap.mmap(fd, _SIZE, mmap.MAP_SHARED, protection)).cast("I")

    @classmethod
    def create(cls, path: str) -> Board:
        """A new file, all hosts down. An old one is left to those who still map it.

        Raises OSError where there is no room for it.
        """
        aside = path + "~"
        fd = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            os.posix_fallocate(fd, 0, _SIZE)  # a file with holes on a full disk is a SIGBUS later
            board = cls(fd, writable=True)
        except BaseException:
            os.unlink(aside)
            raise
        finally:
            os.close(fd)
        for cell in range(CELLS):
            board[cell] = DOWN
        os.rename(aside, path)
        return board

    @classmethod
    def open(cls, path: str, *, writable: bool = False) -> Board:
        """Map one that is there. Raises OSError."""
        fd = os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC)
        try:
            return cls(fd, writable=writable)
        finally:
            os.close(fd)

    def lies_at(self, path: str) -> bool:
        """Whether this is the file of that name, and not the one before it. Raises OSError where there is none."""
        return os.path.samestat(self._stat, os.stat(path))

    def __getitem__(self, cell: int) -> int:
        return self._words[cell * (_STRIDE // 4)]

    def __setitem__(self, cell: int, calls: int) -> None:
        self._words[cell * (_STRIDE // 4)] = calls


class Load:
    """A host's own cell. It counts calls from the first on, and shows them once its models are there."""

    def __init__(self, board: Board, cell: int) -> None:
        self._board = board
        self._cell = cell
        self._calls = 0
        self._up = False
        self._lock = threading.Lock()

    def add(self, calls: int) -> None:
        """So many calls more, or fewer."""
        with self._lock:
            self._calls += calls
            if self._up:
                self._board[self._cell] = self._calls

    def up(self) -> None:
        """Callers may come."""
        with self._lock:
            self._up = True
            self._board[self._cell] = self._calls

    def stand_back(self) -> None:
        """Until it is up again, callers come only where no other host is."""
        with self._lock:
            self._up = False
            self._board[self._cell] = LAST
