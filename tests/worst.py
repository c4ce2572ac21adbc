"""The worst of frames, each of which ends the session it is sent on, and who sends them."""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np

from sharedmodel import handshake, link, wire
from sharedmodel.extensions import ARRAY, BYTES, MEMORYVIEW, MOMENT, PROXY, SCALAR, TENSOR, TUPLE
from sharedmodel.tensor import TensorRef, header_of

F8 = np.dtype("f8")


class Attacker:
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


def call(argument: Any, rid: Any = 7, ident: Any = 0, method: Any = "ping", kwargs: Any = None) -> bytes:
    return wire.frame([wire.CALL, rid, ident, method, [argument], kwargs or {}, None, None])


def ext(code: int, data: bytes) -> bytes:
    return call(msgpack.ExtType(code, data))


def tensor(segment: int, offset: int, nbytes: int, shape: tuple[int, ...]) -> bytes:
    return ext(TENSOR, header_of(F8, shape, "C") + TensorRef(segment, offset, nbytes, 1).pack())


def header(dims: list[int], text: bytes, order: int = 0, length: int | None = None) -> bytes:
    size = -(-(4 + 8 * len(dims) + len(text)) // 16) * 16
    head = bytearray((length or size).to_bytes(2, "little") + bytes([order, len(dims) & 0xFF]))
    for dim in dims:
        head += dim.to_bytes(8, "little", signed=True)
    return bytes(head + text).ljust(size, b"\0")


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
    "tuples nested a hundred deep": ext(TUPLE, b"\x91\xc7\x02\x03\x91\xc0" * 3),
    "an array that claims four billion items": wire.framed(b"\xdd\xff\xff\xff\xff"),
    "maps that claim millions of items, nested": wire.framed(b"\xdf\x00\xff\xff\xff" * 500),
    "a string that claims more than there is": wire.framed(b"\xdb\x7f\xff\xff\xff"),
    "a call without arguments": wire.frame([wire.CALL, 1]),
    "a call with too many parts": wire.frame([wire.CALL, *range(12)]),
    "a request number that is a text": call(1, rid="seven"),
    "a method that is a number": call(1, method=5),
    "keyword arguments that are a list": wire.frame([wire.CALL, 1, 0, "ping", [], [1], None, None]),
    "a deadline that is a list": wire.frame([wire.CALL, 1, 0, "ping", [], {}, [1], None]),
    "blocks given back that were never lent": wire.frame([wire.RELEASE, [1, 2, 3]]),
    "blocks given back that are texts": wire.frame([wire.RELEASE, ["a"]]),
    "a segment given back that is none": wire.frame([wire.GONE, [77]]),
    "a piece without its bytes": wire.frame([wire.PART, 1, True]),
    "a piece that is a text": wire.frame([wire.PART, 1, True, "text"]),
    "a spilled frame outside all segments": wire.frame([wire.SPILL, 1, TensorRef(3, 0, 100, 1).pack()]),
    "a tensor in a segment that is not there": tensor(55, 0, 80, (10,)),
    "a tensor whose end overflows": tensor(1, (1 << 64) - 8, 80, (10,)),
    "a tensor of more bytes than its shape": tensor(1, 0, 800, (10,)),
    "a reference that is cut short": ext(TENSOR, header_of(F8, (10,), "C") + b"123"),
    "an array of fewer bytes than its shape": ext(ARRAY, header_of(F8, (10,), "C") + bytes(79)),
    "an array of a negative size": ext(ARRAY, header([-1], b"<f8")),
    "a shape whose product overflows": ext(ARRAY, header([1 << 62, 1 << 62], b"<f8")),
    "an absurd axis beside an empty one": ext(ARRAY, header([0, 1 << 62], b"<f8")),
    "an array of two hundred dimensions": ext(ARRAY, header([1] * 200, b"<f8")),
    "a header that claims to be longer": ext(ARRAY, header([1], b"<f8", length=4096) + bytes(8)),
    "an array of Python objects": ext(ARRAY, header([1], b"|O") + bytes(8)),
    "a structured dtype that hides objects": ext(ARRAY, header([1], b'[["a", "|O"]]') + bytes(8)),
    "a dtype that is a program": ext(ARRAY, header([1], b"__import__('os')") + bytes(8)),
    "a dtype with an enormous element": ext(ARRAY, header([1], b"|V9223372036854775807")),
    "an unknown memory order": ext(ARRAY, header([1], b"<f8", order=9) + bytes(8)),
    "a scalar with a shape": ext(SCALAR, header_of(F8, (2,), "C") + bytes(16)),
    "bytes outside all segments": ext(BYTES, b"b" + TensorRef(9, 0, 1 << 40, 1).pack()),
    "a moment that is none": ext(MOMENT, msgpack.packb(["m", "yesterday", 0, None])),
    "a time zone that is a path": ext(MOMENT, msgpack.packb(["m", "2020-01-01T00:00:00", 0, "../../etc/passwd"])),
    "a memoryview of a strange format": ext(MEMORYVIEW, msgpack.packb(["%s", [1], b"x"])),
    "a proxy of three numbers": ext(PROXY, msgpack.packb([1, 2, 3])),
    "an extension of an unknown kind": ext(100, b"x"),
}
