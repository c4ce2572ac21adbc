"""How a session begins: versions are agreed on and, where a key is set, both sides prove they have it.

    client → HELLO     lowest, highest version, {pid, shared_memory, goodbye}, nonce
    host   → CHALLENGE nonce                      only where the host has a key
    client → PROOF     HMAC-SHA256(key, "client" + both nonces)
    host   → WELCOME   version, {…}, HMAC-SHA256(key, "host" + both nonces) or b""
    host   → FAILURE   0, …                       when it refuses

The proof goes both ways, so neither side can replay the other's.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from typing import Any, Final

from . import deadlines, failure, link, wire
from .errors import DeadlineExceeded, HostLost, ProtocolError

NONCE: Final = 32
HELLO_TIMEOUT: Final = 10.0


def digest(key: bytes, role: bytes, ours: bytes, theirs: bytes) -> bytes:
    """The proof of one side. ``ours`` is the client's nonce, ``theirs`` the host's."""
    import hmac  # OpenSSL with it: 4 MB that a session without a key does not pay

    return hmac.digest(key, role + ours + theirs, "sha256")


def matches(proof: object, expected: bytes) -> bool:
    import hmac

    return isinstance(proof, bytes) and hmac.compare_digest(proof, expected)


def hello(shared_memory: bool, nonce: bytes) -> bytes:
    who = {"pid": os.getpid(), "shared_memory": shared_memory, "goodbye": True}
    return wire.frame([wire.HELLO, wire.VERSION, wire.VERSION, who, nonce])


class Greeting:
    """The client's part, without a socket: frames in, frames out, until `welcome` is set."""

    def __init__(self, authkey: bytes | None, shared_memory: bool) -> None:
        self._key = authkey
        self._nonce = os.urandom(NONCE)
        self._theirs = b""
        self._framer = wire.Framer()
        self.first = hello(shared_memory, self._nonce)
        self.welcome: dict[str, Any] | None = None

    def feed(self, data: bytes) -> bytes:
        """What to send next. Raises what the host refused with, or AuthenticationError."""
        answer = b""
        for payload in self._framer.feed(data):
            answer += self._message(read(payload))
        return answer

    def _message(self, message: list[Any]) -> bytes:
        if message[0] == wire.FAILURE:
            raise failure.from_wire(message[2:])
        if message[0] == wire.CHALLENGE and len(message) == 2:
            return self._prove(message[1])
        if message[0] == wire.WELCOME and len(message) == 4:
            self._check(message[3])
            self.welcome = message[2]
            return b""
        raise ProtocolError(f"a frame of kind {message[0]} in the handshake")

    def _prove(self, theirs: bytes) -> bytes:
        if self._key is None:
            raise _authentication_error("the host asks for a key (authkey) and none was given")
        self._theirs = theirs
        return wire.frame([wire.PROOF, digest(self._key, b"client", self._nonce, theirs)])

    def _check(self, proof: bytes) -> None:
        if self._key is None:
            return  # a host without a key lets its own uid in by SO_PEERCRED alone
        if not self._theirs:
            raise _authentication_error("a key (authkey) was given, and the host neither asks for one nor has it")
        if not matches(proof, digest(self._key, b"host", self._nonce, self._theirs)):
            raise _authentication_error("digest sent by the host was wrong")


class Rejected(ProtocolError):
    """The client is not taken in; ``answer`` tells it why."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(str(reason))
        self.answer = wire.frame([wire.FAILURE, 0, *failure.to_wire(reason)])


class Reception:
    """The host's part for one client, without a socket: messages in, frames out, until it is `done`."""

    def __init__(self, authkey: bytes | None, about: dict[str, Any]) -> None:
        self._key = authkey
        self._about = about
        self._since = time.monotonic()
        self._ours = self._theirs = b""
        self.who: dict[str, Any] = {}
        self.done = False

    @property
    def late(self) -> bool:
        """Whether the client has had time enough."""
        return not self.done and time.monotonic() - self._since > HELLO_TIMEOUT

    def take(self, message: list[Any]) -> bytes:
        """What to send next. Raises Rejected, or ProtocolError for what makes no sense."""
        if message[0] == wire.HELLO and not self._ours:
            return self._hello(message)
        if message[0] == wire.PROOF and self._ours and self._key is not None:
            return self._check(self._key, message[1])
        raise ProtocolError(f"a frame of kind {message[0]} before the handshake")

    def _hello(self, message: list[Any]) -> bytes:
        _, lowest, highest, who, nonce = message
        if not lowest <= wire.VERSION <= highest:
            text = f"the host speaks version {wire.VERSION} of the protocol, the client {lowest} to {highest}"
            raise Rejected(ProtocolError(f"{text}: install the same sharedmodel on both sides"))
        if not isinstance(who, dict) or not isinstance(nonce, bytes):
            raise ProtocolError("a malformed HELLO")
        self.who, self._theirs, self._ours = who, nonce, os.urandom(NONCE)
        return self._welcome(b"") if self._key is None else wire.frame([wire.CHALLENGE, self._ours])

    def _check(self, key: bytes, proof: Any) -> bytes:
        if not matches(proof, digest(key, b"client", self._theirs, self._ours)):
            raise Rejected(_authentication_error("digest received was wrong"))
        return self._welcome(digest(key, b"host", self._theirs, self._ours))

    def _welcome(self, proof: bytes) -> bytes:
        self.done = True
        return wire.frame([wire.WELCOME, wire.VERSION, self._about, proof])


def greet(sock: socket.socket, authkey: bytes | None, shared_memory: bool, timeout: float | None) -> dict[str, Any]:
    """Do the client's part on a blocking socket; what the host says of itself.

    A host that is starting up leaves its callers in the backlog, so without a timeout this waits as
    long as the listening socket lives. Raises HostLost when it goes, DeadlineExceeded when time is up.
    """
    greeting = Greeting(authkey, shared_memory)
    end = deadlines.after(timeout)
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    try:
        _send(sock, greeting.first)
        while greeting.welcome is None:
            if not poller.poll(deadlines.milliseconds(end)):
                raise DeadlineExceeded(f"the host did not answer within {timeout:.3g} s")
            data, fds = link.receive(sock, 64 << 10)
            link.close_all(fds)
            if not data:
                raise HostLost("the host closed the connection during the handshake")
            if answer := greeting.feed(data):
                _send(sock, answer)
    except OSError as exc:
        if isinstance(exc, HostLost | DeadlineExceeded | PermissionError):
            raise
        raise HostLost(f"the host went away during the handshake: {exc.strerror}") from exc
    return greeting.welcome


def _send(sock: socket.socket, data: bytes) -> None:
    # A host that refuses says why and closes: its reason is there to be read when sending fails.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        sock.sendall(data)


def _authentication_error(text: str) -> Exception:
    from multiprocessing import AuthenticationError

    return AuthenticationError(text)


def read(payload: Any) -> list[Any]:
    """A message of the handshake: plain values only. Raises ProtocolError."""
    return wire.read(payload, _no_extension)


def _no_extension(code: int, data: bytes) -> Any:
    raise ProtocolError("an extension in the handshake")
