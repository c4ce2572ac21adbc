"""Frames made to hurt: each ends its own session at most, and nobody else's.

A well-behaved client calls all the while and must get every answer, right. The frames go through real
sockets to a real host: handwritten worst cases one by one, and generated ones by the ten thousand.
"""

from __future__ import annotations

import os
import pickle
import random
import socket
import threading
from collections.abc import Iterator
from multiprocessing import get_context
from typing import Any

import msgpack
import numpy as np
import pytest

from sharedmodel import handshake, link, process, wire
from sharedmodel.extensions import ARRAY, BYTES, MEMORYVIEW, MOMENT, PROXY, SCALAR, TENSOR, TUPLE
from sharedmodel.manager import ModelManager
from sharedmodel.sessions import SESSIONS
from sharedmodel.tensor import TensorRef, header_of

GENERATED = 100_000
F8 = np.dtype("f8")


class Echo:
    def echo(self, x: Any) -> Any:
        return x


class Manager(ModelManager):
    pass


Manager.register("Echo", Echo)


@pytest.fixture
def manager() -> Iterator[Any]:
    with Manager() as manager:
        yield manager


@pytest.fixture
def spawned() -> Iterator[Any]:
    """A host that can be weighed: a forked one takes over pages that it inherits as it comes to touch them."""
    with Manager(ctx=get_context("spawn")) as manager:
        yield manager


class _Attacker:
    """A raw connection that has said hello, and then says what it is told to."""

    def __init__(self, address: str, *, greeted: bool = True) -> None:
        self.sock = link.connect(address)
        self.sock.settimeout(30)
        if greeted:
            self.sock.sendall(handshake.hello(True, b"n" * 32))
            assert self.sock.recv(65536)

    def send(self, data: bytes) -> None:
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # ended already

    def is_ended(self) -> bool:
        """Whether the host ends the session; answers before that are read and dropped."""
        self.send(wire.frame([wire.PING, 1]))
        try:
            while data := self.sock.recv(1 << 20):
                if wire.frame([wire.PONG, 1]) in data:
                    return False
        except ConnectionResetError:
            pass
        return True

    def close(self) -> None:
        self.sock.close()


class _Bystander(threading.Thread):
    """Calls all the while, and checks every answer."""

    def __init__(self, manager: Any) -> None:
        super().__init__(name="bystander")
        self._echo = manager.Echo()
        self._over = threading.Event()
        self.calls = 0
        self.error: Exception | None = None

    def run(self) -> None:
        large, small = np.arange(100_000.0), np.arange(5)
        try:
            while not self._over.is_set():
                assert (self._echo.echo(large) == large).all()
                assert self._echo.echo([small, "text", 7])[2] == 7
                self.calls += 1
        except Exception as exc:
            self.error = exc

    def __enter__(self) -> _Bystander:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()
        assert self.error is None, repr(self.error)
        assert self.calls > 0


def _call(argument: Any, rid: Any = 7, ident: Any = 0, method: Any = "ping", kwargs: Any = None) -> bytes:
    return wire.frame([wire.CALL, rid, ident, method, [argument], kwargs or {}, None, None])


def _ext(code: int, data: bytes) -> bytes:
    return _call(msgpack.ExtType(code, data))


def _tensor(segment: int, offset: int, nbytes: int, shape: tuple[int, ...]) -> bytes:
    return _ext(TENSOR, header_of(F8, shape, "C") + TensorRef(segment, offset, nbytes, 1).pack())


def _header(dims: list[int], text: bytes, order: int = 0, length: int | None = None) -> bytes:
    size = -(-(4 + 8 * len(dims) + len(text)) // 16) * 16
    head = bytearray((length or size).to_bytes(2, "little") + bytes([order, len(dims) & 0xFF]))
    for dim in dims:
        head += dim.to_bytes(8, "little", signed=True)
    return bytes(head + text).ljust(size, b"\0")


class _Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (self._path,)


WORST: dict[str, bytes] = {
    "a length of four gigabytes": b"\xff\xff\xff\xff" + b"x" * 64,
    "a length just over the limit": (wire.MAX_FRAME + 1).to_bytes(4, "little"),
    "an empty frame": bytes(4),
    "not msgpack": wire.framed(b"\xc1\xc1\xc1"),
    "a number instead of an array": wire.framed(b"\x07"),
    "an empty array": wire.framed(b"\x90"),
    "an unknown kind": wire.frame([99, 1]),
    "a kind of the host's": wire.frame([wire.REPLY, 1, None]),
    "hello again": handshake.hello(True, b"n" * 32),
    "arrays nested a thousand deep": wire.framed(b"\x91" * 5000),
    "tuples nested a hundred deep": _ext(TUPLE, b"\x91\xc7\x02\x03\x91\xc0" * 3),
    "an array that claims four billion items": wire.framed(b"\xdd\xff\xff\xff\xff"),
    "maps that claim millions of items, nested": wire.framed(b"\xdf\x00\xff\xff\xff" * 500),
    "a string that claims more than there is": wire.framed(b"\xdb\x7f\xff\xff\xff"),
    "a call without arguments": wire.frame([wire.CALL, 1]),
    "a call with too many parts": wire.frame([wire.CALL, *range(12)]),
    "a request number that is a text": _call(1, rid="seven"),
    "a method that is a number": _call(1, method=5),
    "keyword arguments that are a list": wire.frame([wire.CALL, 1, 0, "ping", [], [1], None, None]),
    "a deadline that is a list": wire.frame([wire.CALL, 1, 0, "ping", [], {}, [1], None]),
    "blocks given back that were never lent": wire.frame([wire.RELEASE, [1, 2, 3]]),
    "blocks given back that are texts": wire.frame([wire.RELEASE, ["a"]]),
    "a segment given back that is none": wire.frame([wire.GONE, [77]]),
    "a piece without its bytes": wire.frame([wire.PART, 1, True]),
    "a piece that is a text": wire.frame([wire.PART, 1, True, "text"]),
    "a spilled frame outside all segments": wire.frame([wire.SPILL, 1, TensorRef(3, 0, 100, 1).pack()]),
    "a tensor in a segment that is not there": _tensor(55, 0, 80, (10,)),
    "a tensor whose end overflows": _tensor(1, (1 << 64) - 8, 80, (10,)),
    "a tensor of more bytes than its shape": _tensor(1, 0, 800, (10,)),
    "a reference that is cut short": _ext(TENSOR, header_of(F8, (10,), "C") + b"123"),
    "an array of fewer bytes than its shape": _ext(ARRAY, header_of(F8, (10,), "C") + bytes(79)),
    "an array of a negative size": _ext(ARRAY, _header([-1], b"<f8")),
    "a shape whose product overflows": _ext(ARRAY, _header([1 << 62, 1 << 62], b"<f8")),
    "an absurd axis beside an empty one": _ext(ARRAY, _header([0, 1 << 62], b"<f8")),
    "an array of two hundred dimensions": _ext(ARRAY, _header([1] * 200, b"<f8")),
    "a header that claims to be longer": _ext(ARRAY, _header([1], b"<f8", length=4096) + bytes(8)),
    "an array of Python objects": _ext(ARRAY, _header([1], b"|O") + bytes(8)),
    "a structured dtype that hides objects": _ext(ARRAY, _header([1], b'[["a", "|O"]]') + bytes(8)),
    "a dtype that is a program": _ext(ARRAY, _header([1], b"__import__('os')") + bytes(8)),
    "a dtype with an enormous element": _ext(ARRAY, _header([1], b"|V9223372036854775807")),
    "an unknown memory order": _ext(ARRAY, _header([1], b"<f8", order=9) + bytes(8)),
    "a scalar with a shape": _ext(SCALAR, header_of(F8, (2,), "C") + bytes(16)),
    "bytes outside all segments": _ext(BYTES, b"b" + TensorRef(9, 0, 1 << 40, 1).pack()),
    "a moment that is none": _ext(MOMENT, msgpack.packb(["m", "yesterday", 0, None])),
    "a time zone that is a path": _ext(MOMENT, msgpack.packb(["m", "2020-01-01T00:00:00", 0, "../../etc/passwd"])),
    "a memoryview of a strange format": _ext(MEMORYVIEW, msgpack.packb(["%s", [1], b"x"])),
    "a proxy of three numbers": _ext(PROXY, msgpack.packb([1, 2, 3])),
    "an extension of an unknown kind": _ext(100, b"x"),
}


@pytest.mark.parametrize("case", WORST)
def test_the_worst_of_frames_ends_its_session_and_no_other(manager: Any, case: str) -> None:
    bystander = manager.Echo()
    attacker = _Attacker(str(manager.address))
    attacker.send(WORST[case])
    if case.startswith(("a length", "a string that claims more")):
        attacker.sock.shutdown(socket.SHUT_WR)
    assert attacker.is_ended()
    attacker.close()
    assert bystander.echo(5) == 5


def test_a_proxy_to_somewhere_else_is_no_way_to_have_the_host_connect_there(manager: Any, runtime: str) -> None:
    trap = link.listen(f"{runtime}/trap.sock")
    trap.setblocking(False)
    attacker = _Attacker(str(manager.address))
    attacker.send(_ext(PROXY, msgpack.packb(["Echo", f"{runtime}/trap.sock", "1-1", ["echo"]])))
    attacker.is_ended()
    with pytest.raises(BlockingIOError):
        trap.accept()
    attacker.close()
    trap.close()


def test_frames_before_the_handshake_end_the_connection(manager: Any) -> None:
    for frame in (_call(1), wire.frame([wire.PROOF, b"x"]), b"GET / HTTP/1.1\r\n\r\n", pickle.dumps({"a": 1}) * 9):
        attacker = _Attacker(str(manager.address), greeted=False)
        attacker.send(frame)
        assert attacker.is_ended()
        attacker.close()


def test_nothing_is_unpickled(manager: Any, runtime: str) -> None:
    bomb = pickle.dumps(_Bomb(f"{runtime}/exploded"))
    address = str(manager.address)
    for data in (bomb, len(bomb).to_bytes(4, "big") + bomb, wire.framed(bomb), _call(bomb), _ext(42, bomb)):
        for greeted in (False, True):
            attacker = _Attacker(address, greeted=greeted)
            attacker.send(data)
            attacker.is_ended()
            attacker.close()
    assert manager.Echo().echo(bomb) == bomb, "as bytes it may cross, being only bytes"
    assert not os.path.exists(f"{runtime}/exploded")


def test_a_hundred_thousand_generated_frames_disturb_nobody_and_leave_no_memory_behind(spawned: Any) -> None:
    manager = spawned
    chance = random.Random(20240)
    pid = SESSIONS.current(str(manager.address)).control("status")["pid"]
    sent = 0
    with _Bystander(manager):
        _storm(str(manager.address), chance, GENERATED // 10)
        before = process.resident(pid)
        while sent < GENERATED:
            sent += _storm(str(manager.address), chance, GENERATED // 10)
    status = SESSIONS.current(str(manager.address)).control("status")
    assert status["pid"] == pid
    assert len(status["sessions"]) == 1
    assert process.resident(pid) < before + (16 << 20)


def _storm(address: str, chance: random.Random, count: int) -> int:
    """Send so many bad frames, a few to a session: most sessions end at their first."""
    sent = 0
    while sent < count:
        attacker = _Attacker(address)
        for _ in range(chance.randint(1, 20)):
            attacker.send(_generated(chance))
            sent += 1
        attacker.close()
    return sent


_SEEDS = [*WORST.values(), _call([1, {"a": (2, 3)}]), _call("x" * 100), wire.frame([wire.DROP, ["1-1"]])]


def _generated(chance: random.Random) -> bytes:
    """A frame that was valid or nearly so, with some of its bytes changed; or plain noise with a right length."""
    if chance.random() < 0.3:
        return wire.framed(chance.randbytes(chance.randint(1, 200)))
    frame = bytearray(chance.choice(_SEEDS))
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(4, len(frame)) if len(frame) > 4 else 0
        frame[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
    # Mostly with a length that is right, so that what follows is looked at.
    return bytes(frame) if chance.random() < 0.1 else wire.framed(bytes(frame[4:]))
