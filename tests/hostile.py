"""The worst frames that could be thought of, by hand."""

from __future__ import annotations

import json
import pickle
import struct
from typing import Any

import msgpack
import numpy as np

from sharedmodel import handshake, wire
from sharedmodel.extensions import BIGINT, PROXY, extension
from sharedmodel.tensor import TensorRef, header_of

from .raw import call, tensor

HUGE = (1 << 64) - 1
U8 = header_of(np.dtype("u1"), (64,), "C")
ARRAY, TENSOR, SCALAR, TUPLE, SET, BYTES = 10, 11, 9, 3, 4, 13


def header(dtype: str, shape: Any = (), order: int = 0, ndim: int | None = None) -> bytes:
    """An array's header, whatever nonsense it claims."""
    body = struct.pack(f"<{len(shape)}q", *shape) + dtype.encode()
    size = 4 + len(body)
    size += -size % 16
    return (struct.pack("<HBB", size, order, len(shape) if ndim is None else ndim) + body).ljust(size, b"\0")


def array(dtype: str, shape: Any = (), body: bytes = b"", **more: Any) -> bytes:
    return call(extension(ARRAY, header(dtype, shape, **more) + body))


def structure(**changes: Any) -> str:
    fields = {"names": ["a"], "formats": ["<i4"], "offsets": [0], "titles": [None], "itemsize": 4, "aligned": False}
    return json.dumps({**fields, "record": False, **changes})


def within(depth: int, value: bytes = b"\xc0") -> Any:
    """A value within so many tuples."""
    for _ in range(depth):
        value = msgpack.packb(extension(TUPLE, b"\x91" + value))
    return msgpack.unpackb(value, ext_hook=msgpack.ExtType)


def ref(segment: int = 1, offset: int = 0, nbytes: int = 64, block: int = 1) -> TensorRef:
    return TensorRef(segment, offset, nbytes, block)


FRAME = wire.frame
PICKLE = pickle.dumps([1, "two"])
# Each is sent on a session of its own, which it ends.
ENDS: dict[str, bytes] = {
    "a pickle instead of a frame": PICKLE,
    "a pickle in a frame": wire.framed(PICKLE),
    "text": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "an oversized length": (wire.MAX_FRAME + 1).to_bytes(4, "little"),
    "the largest length": b"\xff\xff\xff\xff",
    "an empty frame": bytes(4),
    "no array": wire.framed(b"\x80"),
    "an empty array": wire.framed(b"\x90"),
    "a kind of 5000 digits": wire.framed(msgpack.packb([msgpack.ExtType(BIGINT, (10**5000).to_bytes(3000, "little"))])),
    "a kind that is negative": FRAME([-1]),
    "a kind that is an array": wire.framed(msgpack.packb([extension(ARRAY, header("<i8", (1,)) + bytes(8))])),
    "a second HELLO": handshake.hello(True, bytes(32)),
    "a PROOF nobody asked for": FRAME([wire.PROOF, bytes(32)]),
    "frames of the host's": FRAME([wire.REPLY, 1, None]),
    "a huge count": wire.framed(b"\x98\x01\x01\x00\xa4echo\xdd\xff\xff\xff\xff"),
    "a huge map": wire.framed(b"\x92\x01\xdf\xff\xff\xff\xff"),
    "a huge ext": wire.framed(b"\x92\x01\xc9\xff\xff\xff\xff\x0a"),
    "counts within counts": wire.framed(b"\xdd\x00\x0f\xff\x00" * 1000),
    "arrays too deep": wire.framed(b"\x91" * 100_000),
    "maps too deep": wire.framed(b"\x81\x01" * 100_000),
    "tuples too deep": call(within(200)),
    "a call that is cut short": FRAME([wire.CALL, 1, "victim", "echo"]),
    "a call that is too long": FRAME([wire.CALL, 1, "victim", "echo", [], {}, None, None, 1, 1]),
    "a call of a priority that there is not": FRAME([wire.CALL, 1, "victim", "echo", [], {}, None, None, 3]),
    "a call whose priority is no number": FRAME([wire.CALL, 1, "victim", "echo", [], {}, None, None, "high"]),
    "a call with a trace of no length": FRAME([wire.CALL, 1, "victim", "echo", [], {}, None, None, 0, ""]),
    "a call whose trace is no text": FRAME([wire.CALL, 1, "victim", "echo", [], {}, None, None, 0, 7]),
    "a call with one thing too many": FRAME([wire.CALL, 1, "victim", "echo", [], {}, None, None, 0, "0" * 55, 1]),
    "a call whose priority is enormous": FRAME([wire.CALL, 1, "victim", "echo", [], {}, None, None, 1 << 63]),
    "a request number of text": call(rid="1"),
    "a request number that is true": call(rid=True),
    "a method of bytes": call(method=b"echo"),
    "an object that is an array": call(ident=np.zeros(3)),
    "an object of 5000 digits": call(ident=10**5000),
    "an object nested deep": call(ident=json.loads("[" * 400 + "]" * 400)),
    "an object of floats": call(ident=0.0),
    "arguments in a map": FRAME([wire.CALL, 1, "victim", "echo", {}, {}, None, None]),
    "named arguments in a list": FRAME([wire.CALL, 1, "victim", "echo", [], [], None, None]),
    "a time-out of text": call(timeout="soon"),
    "a time-out of 5000 digits": call(timeout=10**5000),
    "blocks given back that were not lent": call(released=[1]),
    "blocks given back in a map": call(released={1: 2}),
    "a release of nothing lent": FRAME([wire.RELEASE, [HUGE]]),
    "a release of lists": FRAME([wire.RELEASE, [[]]]),
    "a release of None": FRAME([wire.RELEASE, None]),
    "segments gone that never were": FRAME([wire.GONE, [5]]),
    "a drop of lists": FRAME([wire.DROP, [[]]]),
    "a credit of text": FRAME([wire.CREDIT, [], "x"]),
    "a CANCEL of a list": FRAME([wire.CANCEL, []]),
    "twice the same request": call(method="wait", rid=5) + call(method="wait", rid=5),
    "a piece of text": FRAME([wire.PART, 1, True, "x"]),
    "pieces of nothing": b"".join(FRAME([wire.PART, n, False, b""]) for n in range(5000)),
    "a HELLO in pieces": FRAME([wire.PART, 1, True, msgpack.packb([wire.HELLO, 1, 1, {}, b""])]),
    "a piece in pieces": FRAME([wire.PART, 1, True, msgpack.packb([wire.PART, 1, True, b""])]),
    "a pickle in pieces": FRAME([wire.PART, 1, True, PICKLE]),
    "bytes without end in pieces": b"".join(FRAME([wire.PART, 1, False, bytes(1 << 19)]) for _ in range(140)),
    "a spill from nowhere": FRAME([wire.SPILL, 1, ref().pack()]),
    "a spill cut short": FRAME([wire.SPILL, 1, b"1234"]),
    "a spill without bounds": FRAME([wire.SPILL, 1, ref(1, HUGE, HUGE, HUGE).pack()]),
    "an array from nowhere": call(tensor(U8, ref())),
    "an array cut short": call(extension(TENSOR, U8 + bytes(10))),
    "bytes from nowhere": call(extension(BYTES, b"b" + ref().pack())),
    "a proxy of nonsense": call(extension(PROXY, b"\x95\x01\x02\x03\x04\x05")),
    "an unknown extension": call(extension(99, b"")),
    "objects": array("|O", (1,), bytes(8)),
    "objects in a field": array(structure(formats=["|O"]), (1,), bytes(8)),
    "an unknown dtype": array("<f3", (1,), bytes(3)),
    "a dtype to be evaluated": array("__import__('os').abort()", (1,)),
    "a dtype of foreign name": array("ml_dtypes:iinfo", (1,), bytes(8)),
    "a dtype too wide": array("<U999999999999999999", (1,)),
    "fields that overlap the end": array(structure(offsets=[1 << 62]), (1,), bytes(4)),
    "fields before the start": array(structure(offsets=[-4]), (1,), bytes(4)),
    "a structure of nothing": array("{}", (1,)),
    "a dtype nested deep": array("[" * 500 + "]" * 500, (1,)),
    "a subarray without bounds": array('["<i4", [4611686018427387904, 8]]', (1,)),
    "a shape below zero": array("<i4", (-1,)),
    "a shape that overflows": array("<i4", (1 << 62, 4)),
    "a shape that overflows to nothing": array("<i8", (1 << 32, 1 << 32, 0)),
    "an array of more than there is": array("<i8", (1 << 45,)),
    "too many dimensions": array("<i4", (1,) * 65, bytes(4)),
    "dimensions that are not there": array("<i4", (), ndim=255),
    "an order that is none": array("<i4", (1,), bytes(4), order=7),
    "too few bytes": array("<i4", (3,), bytes(11)),
    "too many bytes": array("<i4", (3,), bytes(13)),
    "a scalar with a shape": call(extension(SCALAR, header("<i4", (1,)) + bytes(4))),
    "sets of lists": call(extension(SET, b"\x91\x90")),
    "a zone out of its folder": call(extension(8, msgpack.packb(["t", "00:00:00", 0, "../../../etc/passwd"]))),
    "a moment that is none": call(extension(8, msgpack.packb(["m", "yesterday", 0, None]))),
    "a time without bounds": call(extension(8, msgpack.packb(["d", 1 << 40, 0, 0]))),
    "a view of structures": call(extension(7, msgpack.packb(["T{i}", [1], bytes(4)]))),
    "a slice of four": call(extension(15, msgpack.packb([1, 2, 3, 4]))),
}
# Nonsense that breaks no rule of the wire; the session goes on.
STAYS: dict[str, bytes] = {
    "an unknown object": call(ident="nobody"),
    "an unknown number": call(ident="12345678-1"),
    "a method that is not exposed": call(method="__class__"),
    "a method of a million letters": call(method="x" * 900_000),
    "names that are none": call(kwargs={1: 2}),
    "a time-out that is no number": call(timeout=float("nan")),
    "a time-out long past": call(timeout=-1e300),
    "arguments that the method refuses": call(1, 2, 3, method="add"),
    "cancelling what is not there": FRAME([wire.CANCEL, HUGE]),
    "credit for what is not there": FRAME([wire.CREDIT, 1, HUGE]),
    "objects dropped that it never had": FRAME([wire.DROP, ["victim", "x", 0, 5, HUGE]]),
    "a segment of nothing": call(0, ident=0, method="grow"),
    "a segment of all memory": call(1 << 62, ident=0, method="grow"),
    "a segment of text": call("1", ident=0, method="grow"),
    "a typeid that is not registered": call("os.system", ["true"], {}, ident=0, method="create"),
    "a typeid of lists": call([], [], {}, ident=0, method="create"),
    "a reference to nobody": call("nobody", ident=0, method="incref"),
    "a reference to a list": call([], ident=0, method="incref"),
    "a description of 5000 digits": call(10**5000, ident=0, method="describe"),
    "lone surrogates": call("\ud800", method="\udfff"),
    "a wide array of nothing": array("<U0", (1 << 40,)),
    "a proxy of nobody": call(extension(PROXY, msgpack.packb(["t", "/nowhere", "1", [], ""]))),
    "a name that is spoken for": call(extension(PROXY, msgpack.packb(["t", "", "", ["__del__", "a b"], "os:path"]))),
    "a ping of all kinds": FRAME([wire.PING, {"a": [1, 2.5, None, b"x"]}]),
}
