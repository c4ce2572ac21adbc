"""What a session's socket has not taken yet, and the calls that wait until its client has read.

Where the client does not read any more, they wait for the end of the session, which drops them: run all at once,
for nobody, they would take the memory that their waiting was to save.

Owns the frames and the descriptors on their way out, and the lock that guards them: who asks for the events
that a session needs (see `watched`) reads `unsent` under it. Knows neither what a frame means nor the loop.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from . import link

if TYPE_CHECKING:
    from .call import Call

BACKLOG_MOST: Final = 1 << 20  # unsent bytes above which a session's frames are left in its socket


class Outlet:
    """The outgoing side of one session. Any thread may send."""

    def __init__(self, sock: socket.socket, left: Callable[[], None]) -> None:
        """``left`` is called, without the lock, when the socket did not take all."""
        self.lock = threading.Lock()
        self.closed = False
        self.gone = False
        self.unsent = 0
        self._sock = sock
        self._left = left
        self._frames: deque[tuple[memoryview, tuple[int, ...]]] = deque()
        self._parked: list[Call] = []

    def send(self, data: bytes, fds: tuple[int, ...] = ()) -> None:
        """Send now what the socket takes, the rest when it takes more. Never blocks, never raises."""
        with self.lock:
            if self.closed or self.gone:
                link.close_all(list(fds))
                return
            if not self._frames:
                sent = self._try_send(data, fds)
                if sent == len(data):
                    return
                data, fds = data[sent:], fds if not sent else ()
            self._frames.append((memoryview(data), fds))
            self.unsent += len(data)
        self._left()

    def _try_send(self, data: Any, fds: tuple[int, ...]) -> int:
        try:
            sent = link.send(self._sock, data, fds) if fds else self._sock.send(data)
        except BlockingIOError:
            return 0
        except OSError:  # the end of the connection is the reader's to see
            sent = len(data)
            self.gone = True
            with contextlib.suppress(OSError):  # also where it has not ended yet: an answer must not just be missing
                self._sock.shutdown(socket.SHUT_RDWR)
        if fds:
            link.close_all(list(fds))
        return sent

    def flush(self) -> None:
        """The socket takes more again."""
        with self.lock:
            while self._frames and not self.closed:
                data, fds = self._frames[0]
                sent = self._try_send(data, fds)
                self.unsent -= sent
                if sent < len(data):
                    self._frames[0] = (data[sent:], fds if not sent else ())
                    return
                self._frames.popleft()

    def give_up(self) -> None:
        """Nobody reads any more (a send that fails tells it too): no frame is kept, and no call let through."""
        self.gone = True

    def park(self, call: Call) -> bool:
        """Keep a call until the client has read what it was sent; whether that has to be waited for."""
        if not self._full:
            return False
        with self.lock:
            if not self._full or self.closed:
                return False
            self._parked.append(call)
            return True

    def unpark(self) -> list[Call]:
        """The calls that need not wait any more."""
        with self.lock:
            calls: list[Call] = []
            if not self._full:
                calls, self._parked = self._parked, calls
            return calls

    @property
    def _full(self) -> bool:
        return self.gone or self.unsent >= BACKLOG_MOST

    def close(self) -> list[Call]:
        """Nothing more is sent; the calls that waited for it. Idempotent; the socket is another's to close."""
        with self.lock:
            self.closed = True
            parked, self._parked = self._parked, []
            for _, fds in self._frames:
                link.close_all(list(fds))
            self._frames.clear()
            return parked
