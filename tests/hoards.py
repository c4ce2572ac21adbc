"""Models that say what they hold instead of holding it, the purse that they hold it of, and hosts for them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

from sharedmodel.objects import Objects
from sharedmodel.server.machine.governor import CPU, Device
from sharedmodel.server.machine.neighbours import Neighbours
from sharedmodel.server.machine.purse import Purse
from sharedmodel.server.settings import ModelSettings, Upkeep
from sharedmodel.server.table import Table

from .servers import until

Member = Callable[[int], Neighbours]


class Hoard:
    """Takes so many bytes when it is made, and gives them back when it is closed."""

    held = 0
    gate = threading.Event()  # which a test closes to have one be made for as long as it wants
    gate.set()

    def __init__(self, size: int) -> None:
        assert Hoard.gate.wait(20)
        Hoard.held += size
        self.size = size
        self.device: str | None = None
        self.inside = threading.Event()
        self.leave = threading.Event()

    def touch(self) -> int:
        return self.size

    def wait(self) -> int:
        self.inside.set()
        assert self.leave.wait(20)
        return self.size

    def close(self) -> None:
        Hoard.held -= self.size


class Vault(Purse):
    """Of 100 bytes."""

    def device(self, root: str = "/", *, roughly: bool = False) -> Device:
        return Device(CPU, 100, Hoard.held)

    def own(self) -> int:
        return Hoard.held


def hoard_on(size: int, device: str | None = None) -> Hoard:
    """One that was told where it is to run, or not."""
    made = Hoard(size)
    made.device = device
    return made


class House:
    """A host's table, its time running ahead as the test wants it, and threads that ask for loads."""

    def __init__(self, pool: ThreadPoolExecutor, neighbours: Neighbours | None = None) -> None:
        self.ahead = 0.0
        clock = lambda: time.monotonic() + self.ahead  # noqa: E731
        self.table = Table(Objects(), purse=Vault(), clock=clock, neighbours=neighbours)
        self._pool = pool

    def add(self, name: str, size: int, *, known: bool = True, **upkeep: Any) -> None:
        """A model; ``known``: what it takes is known, it was loaded and unloaded once."""
        self.table.add(name, ModelSettings(factory="tests.hoards:Hoard", args=[size], upkeep=Upkeep(**upkeep)))
        if known:
            self.table.load(name)
            self.table.unload(name)

    def load(self, *names: str) -> None:
        """Load them, and let enough time pass for each to be let alone no more."""
        for name in names:
            self.table.load(name)
            self.ahead += 2

    def loading(self, name: str) -> Future[Any]:
        return self._pool.submit(self.table.load, name)

    def obj(self, name: str) -> Any:
        return self.table._wards[name].slot.wait().obj

    def call(self, name: str, method: str = "touch") -> Any:
        return self.table._wards[name].slot.wait().method(method)()

    def busy(self, name: str) -> Future[Any]:
        """A call that runs until its model is told."""
        held = self._pool.submit(self.call, name, "wait")
        assert self.obj(name).inside.wait(20)
        return held

    def states(self) -> dict[str, str]:
        return {name: told["state"] for name, told in self.table.states().items()}

    def waits(self, future: Future[Any]) -> None:
        """Until its load has been told to wait."""
        arbiter = self.table.arbiter
        waiters = arbiter._news._waiters  # type: ignore[attr-defined]
        until(lambda: len(waiters) > arbiter._looks, lambda: "it does not wait")  # the arbiter's thread waits as well
        assert not future.done()


@contextmanager
def members() -> Iterator[Member]:
    """Hosts of one server, as far as these tell each other something: a host's end, by its number."""
    with ExitStack() as stack:
        fd = Neighbours.create()
        stack.callback(os.close, fd)

        def member(number: int) -> Neighbours:
            found = Neighbours(fd, number)
            stack.callback(found.close)
            found.clear()
            return found

        yield member


@contextmanager
def left_alone() -> Iterator[None]:
    """Houses, from nothing held until no thread of theirs is at work."""
    Hoard.held = 0
    yield
    kinds = ("load-", "unload-", "arbiter")
    until(lambda: not [t for t in threading.enumerate() if t.name.startswith(kinds)], lambda: "threads are at work")
