"""A model and an event loop: what the tests of `AsyncSession` run on."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import numpy as np

from sharedmodel import reply
from sharedmodel.aio import AsyncSession, session
from sharedmodel.manager import ModelManager

PATIENCE = 100.0
MEGABYTE = 1 << 20


class Model:
    def __init__(self) -> None:
        self._flags: dict[str, threading.Event] = {}
        self._lock = threading.Lock()
        self._inside = 0
        self._expected = 0
        self._seen: list[bool] = []

    def echo(self, value: object) -> object:
        return value

    def pid(self) -> int:
        return os.getpid()

    def doubled(self, array: np.ndarray) -> np.ndarray:
        return array * 2

    def fail(self, text: str) -> None:
        raise KeyError(text)

    def numbers(self, count: int) -> Iterator[int]:
        try:
            yield from range(count)
        finally:
            self.set("closed")

    def numbers_and_hang(self, count: int) -> Iterator[int]:
        yield from range(count)
        self.hang()

    def failing_numbers(self, count: int) -> Iterator[int]:
        yield from range(count)
        raise LookupError("no more of them")

    def hang(self) -> None:
        """Until it is cancelled."""
        over = threading.Event()
        with reply.on_cancel(over.set):
            self._enter()
            assert over.wait(PATIENCE)
        self._seen.append(reply.cancelled())
        self.set("cancelled")

    def hang_deaf(self) -> None:
        self._enter()
        self.wait("go")

    def expect(self, inside: int) -> None:
        """Until that many calls hang."""
        with self._lock:
            self._expected = inside
        self._enter(0)
        self.wait("entered")

    def _enter(self, number: int = 1) -> None:
        with self._lock:
            self._inside += number
            if self._inside >= self._expected > 0:
                self.flag("entered").set()

    def flag(self, name: str) -> threading.Event:
        return self._flags.setdefault(name, threading.Event())

    def set(self, name: str) -> None:
        self.flag(name).set()

    def wait(self, name: str) -> list[bool]:
        assert self.flag(name).wait(PATIENCE), name
        return self._seen


class Manager(ModelManager):
    pass


Manager.register("Model", Model)

Ask = Callable[..., Awaitable[Any]]


def on_loop(main: Callable[[AsyncSession, Ask], Awaitable[None]], **options: Any) -> None:
    """Run ``main(session, ask)`` on a new event loop; ``ask(method, *args)`` calls a `Model` in a manager's process."""
    with Manager() as manager:
        run(manager.Model(), main, **options)


def run(model: Any, main: Callable[[AsyncSession, Ask], Awaitable[None]], **options: Any) -> None:
    """The same with a model that is there already."""

    async def with_session() -> None:
        async with asyncio.timeout(2 * PATIENCE), session(model._token.address, **options) as opened:

            def ask(method: str, *args: Any, timeout: float | None = None) -> Awaitable[Any]:
                return opened.call(model._id, method, args, {}, timeout)

            await main(opened, ask)

    asyncio.run(with_session())
