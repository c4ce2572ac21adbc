"""A call that a task waits for, and a result that comes to it item by item."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

from .errors import HostLost
from .pending import Pending
from .stream import CREDIT

if TYPE_CHECKING:
    from .aio import AsyncSession


class Awaited(Pending):
    """A call that a task waits for."""

    def __init__(self, method: str, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(method)
        self.future: asyncio.Future[None] = loop.create_future()

    def news(self) -> None:
        if not self.future.done():
            self.future.set_result(None)


class AsyncStream(AsyncIterator[Any]):
    """The items of a streamed result, as they are made. ``begin_again``: as that of `Stream`."""

    def __init__(self, session: AsyncSession, pending: Awaited, end: float | None) -> None:
        self.session = session
        self.begin_again: Callable[[HostLost], Awaitable[AsyncStream]] | None = None
        self._pending = pending
        self._end = end
        self._taken = 0
        self._closed = False

    async def __anext__(self) -> Any:
        pending = self._pending
        assert pending.stream is not None
        if self._closed:
            raise StopAsyncIteration
        while not pending.stream and not pending.done:
            pending.future = asyncio.get_running_loop().create_future()
            await self.session._wait(pending, self._end)
        again, self.begin_again = self.begin_again, None
        if pending.stream:
            self._taken += 1
            if self._taken % CREDIT == 0:
                self.session._credit(pending)
            return pending.stream.popleft()
        if again is not None and isinstance(pending.error, HostLost):
            self._become(await again(pending.error))
            return await anext(self)
        self._closed = True
        if pending.error is not None:
            raise pending.error
        raise StopAsyncIteration

    def _become(self, other: AsyncStream) -> None:
        self.session, self._pending, self._end = other.session, other._pending, other._end
        self.begin_again = other.begin_again
        other._closed = True

    async def aclose(self) -> None:
        """End the stream; the method in the host is told. Idempotent."""
        if not self._closed:
            self._closed = True
            self.session._cancel(self._pending)

    def __del__(self) -> None:
        if not self._closed and not self._pending.done and self.session.alive:
            self.session._leave(self._pending)
