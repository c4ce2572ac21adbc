"""Callers while no host can be started: they are told why, and not kept waiting for what won't come."""

from __future__ import annotations

import selectors
import socket
from collections import deque
from typing import Final

from sharedmodel import failure, wire
from sharedmodel.errors import LoadFailed

_LINGER: Final = 64


class Door:
    """Answers on the host's listening socket in the host's place, while it is shut."""

    def __init__(self, listener: socket.socket, selector: selectors.BaseSelector) -> None:
        self._listener = listener
        self._selector = selector
        self._reason = ""
        # A socket closed with the caller's HELLO unread would cut off what it was told: they linger a while.
        self._told: deque[socket.socket] = deque()

    def shut(self, reason: str) -> None:
        """Refuse all who come from now on."""
        if not self._reason:
            self._selector.register(self._listener, selectors.EVENT_READ, self._refuse)
        self._reason = reason

    def open(self) -> None:
        """Leave callers to the host again. Idempotent."""
        if self._reason:
            self._selector.unregister(self._listener)
            self._reason = ""
        while self._told:
            self._told.popleft().close()

    def _refuse(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError:
            self.open()  # no descriptor left to tell them: they wait after all, and the loop does not spin
            return
        sock.setblocking(False)
        try:
            sock.send(wire.frame([wire.FAILURE, 0, *failure.to_wire(LoadFailed(self._reason))]))
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        self._told.append(sock)
        if len(self._told) > _LINGER:
            self._told.popleft().close()
