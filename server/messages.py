"""Small msgpack messages over a stream socket: between supervisor and host, and on the control socket.

The frames are the wire's, the kinds are not: these sockets carry no tensors and no user's values.
"""

from __future__ import annotations

import socket
from typing import Any, Final

from sharedmodel import wire
from sharedmodel.errors import ProtocolError

READ_SIZE: Final = 64 << 10
LIMIT: Final = 4 << 20

# host → supervisor
SERVING: Final = 1  # clients are answered from now on
SETTLED: Final = 2  # each configured model is ready or failed; the number that came with these models, or 0
FATAL: Final = 3  # why the host can't go on
STATES: Final = 4  # the models' states
STATUS: Final = 5  # answer: number, the host in numbers
IDLE: Final = 6  # no session for the time agreed
BUSY: Final = 7  # answer: whether there are sessions after all
LOADED: Final = 8  # a client had a model loaded: name, settings; a later host shall have it too
STUCK: Final = 9  # a model does not come back: what it is doing, for how long
BEAT: Final = 10  # this host is not stuck, where that is watched
# supervisor → host
ASK_STATUS: Final = 32  # number
ASK_BUSY: Final = 33
ELSEWHERE: Final = 34  # the other hosts' models: where they are and how they stand
MODELS: Final = 36  # the models it is to serve from now on; a number; ELSEWHERE's value, to the first one
DEATHS: Final = 35  # of hosts, and the calls that may have been the cause


class Messages:
    """One end of such a socket."""

    def __init__(self, sock: socket.socket, limit: int = LIMIT) -> None:
        self.sock = sock
        self._framer = wire.Framer(limit)

    def send(self, kind: int, *values: Any) -> bool:
        """Send a message; False when the other end is gone or does not read."""
        try:
            self.sock.sendall(wire.frame([kind, *values]))
        except OSError:
            return False
        return True

    def receive(self) -> list[list[Any]] | None:
        """The messages that have come, waiting for some where the socket blocks; None at the end.

        Raises ProtocolError.
        """
        try:
            data = self.sock.recv(READ_SIZE)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not data:
            return None
        return [wire.read(payload, _no_extension) for payload in self._framer.feed(data)]

    def close(self) -> None:
        self.sock.close()


def _no_extension(code: int, data: bytes) -> Any:
    raise ProtocolError("an extension where none is used")
