"""Models of the client's tests, served by their factory."""

from __future__ import annotations

import os
import threading


class Mine:
    def __init__(self) -> None:
        self._count = 0
        self._never = threading.Event()

    def pid(self) -> int:
        return os.getpid()

    def count(self) -> int:
        self._count += 1
        return self._count

    def slow(self, seconds: float) -> None:
        self._never.wait(seconds)

    def size(self, data: bytes) -> int:
        return len(data)
