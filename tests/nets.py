"""Models of the tests of how models are kept. Made by factories of this module, in the test's own process."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np


class Made:
    """What the factories below have made, and how they are to behave: a test's own, for as long as it runs."""

    def __init__(self) -> None:
        self.models: list[weakref.ref[Net]] = []
        self.closed = 0
        self.drift = 0.0  # of those that are made from now on
        self.broken = ""

    @property
    def last(self) -> Net:
        found = self.models[-1]()
        assert found is not None
        return found


class Net:
    """Doubles; from some moment on wrongly, if it is told to."""

    made = Made()

    def __init__(self, factor: float = 2.0, ballast: int = 0) -> None:
        if self.made.broken:
            raise RuntimeError(self.made.broken)
        self.made.models.append(weakref.ref(self))
        self.factor = factor
        self.drift = self.made.drift
        self.asked: list[Any] = []
        self.ballast = bytearray(ballast)
        self.cycle = self  # as models have them
        self.inside = threading.Event()
        self.leave = threading.Event()

    def predict(self, x: Any) -> Any:
        self.asked.append(x)
        if self.drift == float("inf"):
            raise RuntimeError("out of order")
        return np.asarray(x, "f4") * np.float32(self.factor) + np.float32(self.drift)

    def wait(self) -> float:
        self.inside.set()
        assert self.leave.wait(20)
        return self.factor

    def count(self, to: int) -> Iterator[int]:
        yield from range(to)

    def close(self) -> None:
        self.made.closed += 1
