"""A host that answers by script, byte for byte, for what a real one does only now and then."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from typing import Any

from sharedmodel import link, wire

PATIENCE = 100.0


class FakeHost:
    """Accepts one client and does its handshake; then the test says what is sent."""

    def __init__(self, directory: str) -> None:
        self.address = os.path.join(directory, "fake.sock")
        self.listener = link.listen(self.address)
        self.listener.settimeout(PATIENCE)
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()
        self._framer = wire.Framer()
        self._frames: list[list[Any]] = []
        self.socket: socket.socket | None = None

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            self.socket, _ = self.listener.accept()
            self.socket.settimeout(PATIENCE)
            kind, *_ = self.receive()
            assert kind == wire.HELLO
            self.send([wire.WELCOME, wire.VERSION, {"pid": os.getpid()}, b""])

    def receive(self) -> list[Any]:
        """The next frame of the client."""
        if self._accepting is not threading.current_thread():
            self._accepting.join()
        assert self.socket is not None
        while not self._frames:
            data = self.socket.recv(65536)
            assert data, "the client has closed the connection"
            self._frames += [wire.read(p, lambda code, raw: (code, raw)) for p in self._framer.feed(data)]
        return self._frames.pop(0)

    def send(self, *messages: list[Any]) -> None:
        """These frames, in one piece."""
        assert self.socket is not None
        self.socket.sendall(b"".join(map(wire.frame, messages)))

    def close(self) -> None:
        self.listener.close()
        self._accepting.join()
        if self.socket is not None:
            self.socket.close()


@contextlib.contextmanager
def fake_host(directory: str) -> Iterator[FakeHost]:
    host = FakeHost(directory)
    try:
        yield host
    finally:
        host.close()
