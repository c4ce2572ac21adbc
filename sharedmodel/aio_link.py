"""The socket of a session on an event loop: connected, greeted, read and written when the loop says so.

What the socket does not take now is sent when it takes more. Knows bytes and descriptors, and no calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from . import link
from .errors import HostLost
from .handshake import Greeting

_RETRY_MOST: Final = 0.05


async def connect(address: str) -> socket.socket:
    pause = 0.001
    while (sock := link.try_connect(address)) is None:  # its backlog is full: EAGAIN
        await asyncio.sleep(pause)
        pause = min(2 * pause, _RETRY_MOST)
    return sock


async def greet(sock: socket.socket, authkey: bytes | None, shared_memory: bool) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    greeting = Greeting(authkey, shared_memory)
    try:
        with contextlib.suppress(BrokenPipeError):  # a host that refuses has said why, which is read below
            await loop.sock_sendall(sock, greeting.first)
        while greeting.welcome is None:
            data = await loop.sock_recv(sock, link.READ_SIZE)
            if not data:
                raise HostLost("the host closed the connection during the handshake")
            if answer := greeting.feed(data):
                await loop.sock_sendall(sock, answer)
    except (BrokenPipeError, ConnectionResetError) as exc:
        raise HostLost(f"the host went away during the handshake: {exc.strerror}") from exc
    return greeting.welcome


class AsyncLink:
    """A connected socket."""

    def __init__(
        self,
        sock: socket.socket,
        address: str,
        feed: Callable[[bytes, list[int]], None],
        lose: Callable[[Exception], None],
    ) -> None:
        """``feed`` takes what has come; ``lose`` is told when the connection is over, and calls `close`."""
        self._socket = sock
        self._address = address
        self._feed = feed
        self._lose = lose
        self._loop = asyncio.get_running_loop()
        self._outbox: deque[memoryview] = deque()
        self._loop.add_reader(sock, self._readable)

    def send(self, data: bytes) -> None:
        rest = memoryview(data)
        if not self._outbox:
            rest = rest[self._try_send(rest) :]
        if rest and self._socket.fileno() >= 0:
            if not self._outbox:
                self._loop.add_writer(self._socket, self._writable)
            self._outbox.append(rest)

    def _try_send(self, data: memoryview) -> int:
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as exc:
            self._hear_out()
            self._lose(HostLost(f"the host at {self._address} went away: {exc.strerror}"))
            return len(data)

    def _hear_out(self) -> None:
        """Take in what the host has said at its end."""
        with contextlib.suppress(Exception):
            while self._socket.fileno() >= 0:
                data, fds = link.receive(self._socket, link.READ_SIZE)
                if not data:
                    return
                self._feed(data, fds)

    def _writable(self) -> None:
        while self._outbox:
            rest = self._outbox[0]
            sent = self._try_send(rest)
            if self._socket.fileno() < 0:
                return
            if sent < len(rest):
                self._outbox[0] = rest[sent:]
                return
            self._outbox.popleft()
        self._loop.remove_writer(self._socket)

    def _readable(self) -> None:
        try:
            data, fds = link.receive(self._socket, link.READ_SIZE)
        except BlockingIOError:
            return
        except OSError as exc:
            self._lose(HostLost(f"the host at {self._address} went away in mid-call: {exc.strerror}"))
            return
        if not data:
            self._lose(HostLost(f"the host at {self._address} went away in mid-call"))
            return
        try:
            self._feed(data, fds)
        except Exception as exc:  # a message half taken in can't be taken up again
            self._lose(exc)

    def close(self) -> None:
        """Idempotent."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket.close()
        self._outbox.clear()

    def forget(self) -> None:
        """In a forked child: let go of what is the parent's. Its loop is not touched: it shares the parent's epoll."""
        with contextlib.suppress(OSError):
            os.close(self._socket.detach())
        self._outbox.clear()
