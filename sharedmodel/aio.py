"""A session on an asyncio event loop: no threads, the same `Channel` under it.

A task that is cancelled cancels its call in the host.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
from collections.abc import AsyncIterator
from typing import Any

from . import link, wire
from .aio_link import AsyncLink, connect, greet
from .aio_stream import AsyncStream, Awaited
from .channel import Channel, Loader
from .deadlines import too_late
from .encoder import ProxyBytes
from .errors import DeadlineExceeded, HostLost, HostUnavailable
from .forks import FORKS
from .memory import NeedRoom
from .pending import Pending
from .segment import Segment
from .stream import CREDIT
from .tensor import Array
from .tidy import EVERY, ROOM

_ASK_AGAIN = 1.0  # seconds after which a host that had no room for arguments is asked again


class AsyncSession:
    """One connection to a host, for any number of tasks of one event loop. Made by `open`."""

    def __init__(self, address: str, sock: socket.socket, welcome: dict[str, Any], options: dict[str, Any]) -> None:
        self.address = address
        self.welcome = welcome
        self.shared_memory: bool = options.get("shared_memory", True)
        self._loop = asyncio.get_running_loop()
        self._refused = 0.0 if self.shared_memory else math.inf  # until when larger arrays go in frames
        proxy: ProxyBytes = options.get("proxy", lambda value: None)
        load: Loader = options.get("load", lambda fields: None)
        self.channel = Channel(self._grow, proxy, load, self._tidy_later)
        self.channel.traced = bool(welcome.get("traces"))
        self._growing: asyncio.Task[None] | None = None
        self._tidier: asyncio.TimerHandle | None = None
        self._link = AsyncLink(sock, address, self.channel.feed, self._lose)
        FORKS.watch(self)

    @classmethod
    async def open(
        cls, address: str, *, authkey: bytes | None = None, timeout: float | None = None, **options: Any
    ) -> AsyncSession:
        """Connect. Raises what `Session` raises."""
        address = link.check_address(address)
        try:
            async with asyncio.timeout(timeout):
                sock = await connect(address)
                try:
                    welcome = await greet(sock, authkey, options.get("shared_memory", True))
                    return cls(address, sock, welcome, options)
                except BaseException:
                    sock.close()
                    raise
        except TimeoutError as exc:
            if isinstance(exc, DeadlineExceeded):
                raise
            raise HostUnavailable(f"{address} did not answer within {timeout:.3g} s") from None

    @property
    def alive(self) -> bool:
        return self.channel.lost is None

    # -- calls -------------------------------------------------------------------------------------

    async def call(
        self,
        ident: Any,
        method: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        timeout: float | None = None,
        priority: int = 0,
    ) -> Any:
        """The result of ``method`` of object ``ident``; a stream comes back as an asynchronous iterator.

        Raises as `Session.call` does; a cancelled task raises CancelledError, and the host is told.
        """
        pending = Awaited(method, self._loop)
        if priority:
            pending.priority = priority
        end = None if timeout is None else self._loop.time() + timeout
        await self._begin(pending, ident, args, kwargs, end)
        await self._wait(pending, end)
        if pending.error is not None and pending.stream is None:
            try:
                raise pending.error
            finally:
                del pending  # or the error, its traceback and this frame keep one another alive
        if pending.stream is not None:
            return AsyncStream(self, pending, end)
        return pending.value

    async def control(self, method: str, *args: Any) -> Any:
        """A call to the host itself."""
        return await self.call(wire.CONTROL, method, args, {})

    async def empty(self, shape: Any, dtype: Any = float, order: Any = "C") -> Array | None:
        """An array in shared memory, or None where there is none to be had."""
        while True:
            try:
                return self.channel.requests.empty(shape, dtype, order)
            except NeedRoom as need:
                await self._add_room(need.nbytes)

    def close(self) -> None:
        """End the session; calls on their way end with HostLost. Idempotent."""
        self._lose(HostLost(f"the session with {self.address} was closed"))

    def forget(self) -> None:
        """In a forked child: let go of what is the parent's. Its loop is not touched: it shares the parent's epoll."""
        self._link.forget()
        self._tidier = None
        self.channel.forget()

    async def _begin(
        self, pending: Awaited, ident: Any, args: tuple[Any, ...], kwargs: dict[str, Any], end: float | None
    ) -> None:
        while True:
            if self.channel.lost is not None:
                raise self.channel.unsent()
            left = None if end is None else end - self._loop.time()
            try:
                self._link.send(self.channel.begin(pending, ident, args, kwargs, left))
                return
            except NeedRoom as need:
                nbytes = need.nbytes
            try:
                async with asyncio.timeout_at(end):
                    await self._add_room(nbytes)
            except TimeoutError:
                raise too_late() from None

    async def _add_room(self, nbytes: int) -> None:
        """Wait until there is more room, which may be what another task has asked for."""
        if self._growing is None:
            self._growing = self._loop.create_task(self._more_room(nbytes))
        try:
            # A task that no longer waits does not end it: the room that comes would be nobody's.
            await asyncio.shield(self._growing)
        except HostLost:
            raise self.channel.unsent() from None

    async def _more_room(self, nbytes: int) -> None:
        try:
            number = await self.control("grow", nbytes)
            if number is None:
                self._refused = self._loop.time() + _ASK_AGAIN
        finally:
            self._growing = None

    def _tidy_later(self) -> None:
        if self.alive and self._tidier is None and self.channel.room > ROOM:
            self._tidier = self._loop.call_later(EVERY, self._tidy, self.channel.last)

    def _tidy(self, last: int) -> None:
        """Give room back that no argument lies in, if no call has been made since."""
        self._tidier = None
        unused = last == self.channel.last and not self.channel.pending
        if self.alive and unused and (data := self.channel.chores() + self.channel.trim()):
            self._link.send(data)
        self._tidy_later()

    def _grow(self, nbytes: int) -> tuple[int, Segment] | None:
        if self._refused and self._loop.time() < self._refused:
            return None
        raise NeedRoom(nbytes)

    async def _wait(self, pending: Awaited, end: float | None) -> None:
        try:
            async with asyncio.timeout_at(end):
                await pending.future
        except TimeoutError:
            self._cancel(pending)
            raise too_late() from None
        except asyncio.CancelledError:
            self._cancel(pending)
            raise

    def _cancel(self, pending: Pending) -> None:
        if self.alive and not pending.done:
            self._link.send(wire.frame([wire.CANCEL, pending.rid]))

    def _credit(self, pending: Pending) -> None:
        if self.alive and not pending.done:
            self._link.send(wire.frame([wire.CREDIT, pending.rid, CREDIT]))

    def _leave(self, pending: Pending) -> None:
        """A stream was left by its reader; called by a finalizer, on any thread."""
        self.channel.drops.append(("stream", pending.rid))
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._do_chores)

    def _do_chores(self) -> None:
        if self.alive and (data := self.channel.chores()):
            self._link.send(data)

    # -- the end -------------------------------------------------------------------------------------

    def _lose(self, error: Exception) -> None:
        self._link.close()
        FORKS.leave(self)
        if self._tidier is not None:
            self._tidier.cancel()
        for pending in self.channel.lose(error):
            pending.news()


@contextlib.asynccontextmanager
async def session(address: str, **options: Any) -> AsyncIterator[AsyncSession]:
    """A session that is closed at the end of the block."""
    opened = await AsyncSession.open(address, **options)
    try:
        yield opened
    finally:
        opened.close()
