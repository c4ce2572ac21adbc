"""The object that the hosts of these tests serve: it waits, dies, streams and keeps what it is told to."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from sharedmodel import reply


class Probe:
    """Counts who is inside, and does what it is asked to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._gates: dict[str, threading.Event] = {}
        self._counts: dict[str, int] = {}
        self._kept: list[Any] = []

    # -- plain ---------------------------------------------------------------------------------------

    def echo(self, value: Any = None) -> Any:
        return value

    def add(self, a: Any, b: Any) -> Any:
        return a + b

    def total(self, array: Any) -> int:
        return int(np.asarray(array).sum())

    def pid(self) -> int:
        return os.getpid()

    def thread(self) -> int:
        return threading.get_ident()

    def filled(self, nbytes: int, value: int = 7) -> Any:
        """Made where the caller reads it."""
        out = reply.empty(nbytes, "u1")
        out[:] = value
        return out

    def plain(self, nbytes: int, value: int = 7) -> Any:
        return np.full(nbytes, value, "u1")

    def fail(self, text: str = "as asked") -> None:
        raise ValueError(text)

    def uncrossable(self) -> Any:
        return object()

    def stream(self, count: int, nbytes: int = 0, fail_at: int = -1) -> Iterator[Any]:
        try:
            for number in range(count):
                if number == fail_at:
                    raise ValueError(f"item {number}")
                yield np.full(nbytes, number % 251, "u1") if nbytes else number
            self.note("exhausted")
        finally:
            self.note("closed")

    def keep(self, value: Any) -> int:
        self._kept.append(value)
        return len(self._kept)

    def kept(self, index: int) -> Any:
        return self._kept[index]

    def let_go(self) -> None:
        self._kept.clear()

    # -- waiting -------------------------------------------------------------------------------------

    def wait(self, gate: str = "gate") -> str:
        """Until the gate is opened or the caller has given up."""
        event = self._gate(gate)
        self.note("entered")
        try:
            with reply.on_cancel(lambda: (self.note("cancelled"), event.set())):
                event.wait()
        finally:
            self.note("left")
        return gate

    def wait_deaf(self, gate: str = "gate") -> str:
        """Until the gate is opened, whoever has given up."""
        self.note("entered")
        self._gate(gate).wait()
        self.note("left")
        return gate

    def open(self, gate: str = "gate") -> None:
        self._gate(gate).set()

    def spin(self, seconds: float) -> None:
        """Holds its thread and, most of the time, the GIL."""
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            pass

    # -- dying ---------------------------------------------------------------------------------------

    def die(self, how: str, gate: str = "") -> None:
        if gate:
            self.wait_deaf(gate)
        if how == "exit":
            os._exit(3)
        elif how == "sys.exit":
            sys.exit(4)
        elif how == "SIGKILL":
            os.kill(os.getpid(), signal.SIGKILL)
        raise RuntimeError(how)

    def fork(self) -> int:
        """A child that holds what it inherited until it is killed."""
        child = os.fork()
        if child == 0:
            signal.pause()
            os._exit(0)
        return child

    def reap(self, child: int) -> int:
        os.kill(child, signal.SIGKILL)
        return os.waitpid(child, 0)[0]

    # -- counting ------------------------------------------------------------------------------------

    def note(self, what: str) -> None:
        with self._lock:
            self._counts[what] = self._counts.get(what, 0) + 1

    def count(self, what: str) -> int:
        return self._counts.get(what, 0)

    def open_files(self) -> int:
        return len(os.listdir("/proc/self/fd"))

    def _gate(self, name: str) -> threading.Event:
        with self._lock:
            return self._gates.setdefault(name, threading.Event())


class Item:
    """An object that lives by its references."""

    def __init__(self, payload: Any = None) -> None:
        self._payload = payload

    def get(self) -> Any:
        return self._payload

    def set(self, payload: Any) -> None:
        self._payload = payload
