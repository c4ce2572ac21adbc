"""The control socket: small requests to the supervisor, and its answers.

    request  1, name, {options}
    answer   2, True, value   or   2, False, why not

Garbage costs its sender the connection and nobody else anything.
"""

from __future__ import annotations

import logging
import os
import select
import selectors
import socket
import time
from collections.abc import Callable
from typing import Any, Final

from sharedmodel import link
from sharedmodel.errors import BadArgument, DeadlineExceeded, HostLost, ProtocolError, SharedModelError

from .messages import Messages

REQUEST: Final = 1
ANSWER: Final = 2
MOST: Final = 64
REQUEST_LIMIT: Final = 64 << 10
SEND_TIMEOUT: Final = 1.0

logger = logging.getLogger("sharedmodel.supervisor")

Answer = Callable[[Any], None]
Handler = Callable[[str, dict[str, Any], Answer], None]


class ControlServer:
    """Serves the socket from the supervisor's loop."""

    def __init__(self, listener: socket.socket, selector: selectors.BaseSelector, handler: Handler) -> None:
        self.listener = listener
        self._selector = selector
        self._handler = handler
        self._open: dict[int, Messages] = {}
        self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)  # to be given up when there are no more
        self._told = False
        listener.setblocking(False)
        selector.register(listener, selectors.EVENT_READ, self._accept)

    def _accept(self) -> None:
        try:
            sock, _ = self.listener.accept()
        except BlockingIOError:
            return
        except OSError as exc:
            self._relieve(exc)
            return
        if link.peer_of(sock).uid not in (os.geteuid(), 0):
            sock.close()
            return
        if len(self._open) >= MOST:
            self._close(next(iter(self._open)))  # the oldest: whoever asks is answered at once
        sock.settimeout(SEND_TIMEOUT)
        self._open[sock.fileno()] = Messages(sock, REQUEST_LIMIT)
        fd = sock.fileno()
        self._selector.register(sock, selectors.EVENT_READ, lambda: self._read(fd))

    def _relieve(self, exc: OSError) -> None:
        """No descriptor is left for who comes. The older connections make room; without any, they are turned away."""
        if not self._told:
            self._told = True
            logger.warning("a request could not be taken: %s (raise ulimit -n)", exc.strerror)
        for fd in list(self._open)[: (len(self._open) + 1) // 2]:  # an answer needs some as well
            self._close(fd)
        if self._open:
            return
        os.close(self._spare)
        try:
            self.listener.accept()[0].close()
        except OSError:
            pass
        finally:
            self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def _read(self, fd: int) -> None:
        messages = self._open.get(fd)
        if messages is None:
            return  # closed by an event of the same round
        try:
            received = messages.receive()
            for message in received or ():
                self._request(fd, messages, message)
        except ProtocolError:
            received = None
        if received is None:
            self._close(fd)

    def _request(self, fd: int, messages: Messages, message: list[Any]) -> None:
        if len(message) != 3 or message[0] != REQUEST or type(message[1]) is not str or type(message[2]) is not dict:
            raise ProtocolError("not a request")

        def answer(value: Any) -> None:
            if self._open.get(fd) is not messages:
                return  # the asker has gone meanwhile
            sent = messages.send(ANSWER, True, value)
            if not sent:
                self._close(fd)

        try:
            self._handler(message[1], message[2], answer)
        except (SharedModelError, OSError) as exc:  # an OSError: no descriptors to find the answer by
            messages.send(ANSWER, False, str(exc))

    def _close(self, fd: int) -> None:
        messages = self._open.pop(fd, None)
        if messages is not None:
            self._selector.unregister(messages.sock)
            messages.close()

    def close(self) -> None:
        """Close every connection and the listener. Idempotent."""
        for fd in list(self._open):
            self._close(fd)
        if self.listener.fileno() >= 0:
            self._selector.unregister(self.listener)
            self.listener.close()
            os.close(self._spare)


def ask(address: str, name: str, timeout: float = 5.0, **options: Any) -> Any:
    """One request to the supervisor and its answer.

    Raises HostUnavailable where there is none, DeadlineExceeded, HostLost, BadArgument.
    """
    end = time.monotonic() + timeout
    sock = link.connect(address, timeout)
    messages = Messages(sock)
    try:
        messages.send(REQUEST, name, options)
        while True:
            left = max(0, int(1000 * (end - time.monotonic())))
            poller = select.poll()
            poller.register(sock, select.POLLIN)
            if not poller.poll(left):
                raise DeadlineExceeded(f"the supervisor at {address} did not answer within {timeout:g} s")
            received = messages.receive()
            if received is None:
                raise HostLost(f"the supervisor at {address} went away")
            for message in received:
                if message[1]:
                    return message[2]
                raise BadArgument(message[2])
    finally:
        messages.close()
