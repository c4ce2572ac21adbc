"""A client that says whatever it likes: frames by hand on a raw socket, and a host to say them to."""

from __future__ import annotations

import mmap
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import msgpack
import numpy as np

from sharedmodel import handshake, wire
from sharedmodel.encoder import Encoder
from sharedmodel.extensions import extension
from sharedmodel.session import Session
from sharedmodel.tensor import TensorRef

PATIENCE = 100.0


class Host:
    """The process of `tests.hostile_host`, its log and its memory."""

    def __init__(self, directory: str, few: int = sys.maxsize) -> None:
        """``few``: ended sessions that have a line each in the log; the others are summed up."""
        self.log_path = os.path.join(directory, "log")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.hostile_host", self.log_path, str(few)], stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().decode().strip()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)  # prints where each of its threads stands
            code = self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        assert code == 0, f"it ended with {code}; log:\n{self.log}"

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    @property
    def log(self) -> str:
        with open(self.log_path) as log:
            return log.read()

    @property
    def memory(self) -> int:
        """Resident bytes that are its own, shared pages not included."""
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(next(line for line in status if line.startswith("RssAnon")).split()[1]) << 10

    @property
    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


class Good:
    """A well-behaved client, whose calls must go on as if nothing happened."""

    def __init__(self, address: str) -> None:
        self.session: Any = Session(address, timeout=PATIENCE)
        self._array = np.arange(100_000)

    def ask(self, method: str, *args: Any) -> Any:
        return self.session.call("victim", method, args, {}, PATIENCE)

    def works(self) -> None:
        assert self.ask("add", 2, 3) == 5
        assert self.ask("total", self._array) == self._array.sum()
        assert (self.ask("filled", 300_000) == 7).all()

    def close(self) -> None:
        self.session.close()
        self.session = None


class Raw:
    """A connection by hand. ``greeted`` unless told otherwise."""

    def __init__(self, address: str, *, greeted: bool = True) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(address)
        self._framer = wire.Framer()
        self._inbox: list[list[Any]] = []
        self.fds: list[int] = []
        if greeted:
            self.send(handshake.hello(True, bytes(32)))
            assert self.until(wire.WELCOME)

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()
        for fd in self.fds:
            os.close(fd)

    def send(self, *data: bytes) -> Raw:
        try:
            self.sock.sendall(b"".join(data))
        except (BrokenPipeError, ConnectionResetError):
            pass  # the host has ended us already: `frames` tells
        return self

    def frames(self) -> Iterator[list[Any]]:
        """What the host says, until it ends the session."""
        while True:
            while self._inbox:
                yield self._inbox.pop(0)
            try:
                data, fds, _, _ = socket.recv_fds(self.sock, 1 << 16, 4)
            except ConnectionResetError:
                return
            self.fds += fds
            if not data:
                return
            self._inbox += [unpacked(payload) for payload in self._framer.feed(data)]

    def until(self, kind: int) -> list[Any] | None:
        """The next frame of this kind, or None if the session ends before."""
        return next((message for message in self.frames() if message[0] == kind), None)

    def survives(self, token: Any = "still there") -> bool:
        self.send(wire.frame([wire.PING, token]))
        return self.until(wire.PONG) is not None

    def ended(self) -> bool:
        """Whether the host ends the session now, without another word from us."""
        for _ in self.frames():
            pass
        return True

    def ask(self, *args: Any, ident: Any = "victim", method: Any = "echo", rid: int = 1) -> list[Any]:
        """The REPLY or FAILURE to a call."""
        self.send(call(*args, ident=ident, method=method, rid=rid))
        for message in self.frames():
            if message[0] in (wire.REPLY, wire.FAILURE) and message[1] == rid:
                return message
        raise AssertionError("the session was ended")

    def grow(self, nbytes: int) -> tuple[int, mmap.mmap]:
        """A segment for arguments: its number and our mapping of it."""
        self.send(call(nbytes, ident=0, method="grow", rid=7777))
        announced = self.until(wire.SEGMENT)
        assert announced is not None and self.until(wire.REPLY) is not None
        return announced[1], mmap.mmap(self.fds[-1], announced[2])


def unpacked(payload: Any) -> list[Any]:
    message: list[Any] = msgpack.unpackb(
        payload, ext_hook=msgpack.ExtType, strict_map_key=False, unicode_errors="surrogatepass"
    )
    return message


def call(
    *args: Any, ident: Any = "victim", method: Any = "echo", rid: Any = 1, kwargs: Any = None, timeout: Any = None,
    released: Any = None,
) -> bytes:  # fmt: skip
    message = [wire.CALL, rid, ident, method, list(args), kwargs or {}, timeout, released]
    return wire.framed(Encoder(None).pack(message))


def tensor(header: bytes, ref: TensorRef, code: int = 11) -> Any:
    return extension(code, header + ref.pack())


def eventually(look: Any) -> bool:
    """Whether something comes true that only time can show."""
    end = time.monotonic() + PATIENCE
    while not look():
        if time.monotonic() > end:
            return False
        select.select([], [], [], 0.01)
    return True
