"""Hostile frames by the thousand: mutations of good ones, nonsense in every slot, and noise; from a seed."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from typing import Any

import msgpack

from sharedmodel import wire
from sharedmodel.extensions import PROXY, extension
from sharedmodel.tensor import TensorRef

from .hostile import ENDS, STAYS, header, structure
from .raw import call

INTS = [0, 1, -1, 2, 7, 63, 64, 255, 256, 4096, 65535, 1 << 31, (1 << 31) - 1, 1 << 32, (1 << 63) - 1, 1 << 63,
        (1 << 64) - 1, -(1 << 63)]  # fmt: skip
DTYPES = [
    "<f4", ">f8", "|u1", "|b1", "<U3", "|S0", "<M8[ns]", "|V7", "|O", "<f16", "<c8", "=i4", "<U0", "ml_dtypes:bfloat16",
    "ml_dtypes:f", "[]", "{}", '["<f4", [2, 3]]', structure(), structure(formats=["|O"]), "f", "", "\0",
]  # fmt: skip
METHODS = ["echo", "add", "total", "filled", "count", "wait", "", "__init__", "nothing", "describe", "incref", "ping"]
GRAFTS = [
    b"\xdd\xff\xff\xff\xff", b"\xdf\x00\x0f\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xc9\x00\xff\xff\xff\x0b", b"\xc1",
    b"\xdb\x7f\xff\xff\xff", b"\x90", b"\x80", b"\xc0", b"\xcf" + b"\xff" * 8, b"\x91" * 80, b"\xd4\xff\x00",
]  # fmt: skip
SEEDS = [
    data[wire.LENGTH :]
    for data in [
        *(data for data in (ENDS | STAYS).values() if wire.LENGTH + 2 < len(data) < 2000 and b"grow" not in data),
        call([1, 2.5, "text", b"bytes", None, True], {"k": (1, {2, 3})}, kwargs={"x": 1 << 70}),
        call(1, 2, method="add"),
        call(100, method="filled"),
        call(3, method="count"),
        call("Victim", [], {}, ident=0, method="create"),
        call("victim", ident=0, method="describe"),
        call(method="wait", timeout=5.0),
        *(wire.frame([kind, 1, 2, 3]) for kind in range(20)),
    ]
]


# A piece of a frame, or a proxy: what comes of it is known later, on another thread of the host's.
LATER = bytes([wire.PART])
assert wire.PART == PROXY


def frames(seed: int, *, later: bool = False) -> Iterator[bytes]:
    """Payloads without end. None has more than some kilobytes, and none asks for a segment or the host's end.

    Either all that are judged at once, or, ``later``, only those that may be judged later.
    """
    chance = random.Random(seed)
    makers = [_mutated, _mutated, _mutated, _slots, _slots, _call, _call, _extended, _extended, _noise]
    while True:
        payload = chance.choice(makers)(chance)
        if b"grow" in payload or b"shutdown" in payload or not 0 < len(payload) < 8000:
            continue
        if (LATER in payload) is later:
            yield payload


def _mutated(chance: random.Random) -> bytes:
    payload = bytearray(chance.choice(SEEDS))
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        at = chance.randrange(len(payload) + 1)
        end = min(len(payload), at + chance.choice((1, 1, 2, 5, 20)))
        payload[at:end] = chance.choice(
            (chance.randbytes(end - at), b"", chance.choice(GRAFTS), payload[at:end] * 2, bytes(payload[:20]))
        )
    return bytes(payload)


def _noise(chance: random.Random) -> bytes:
    return chance.randbytes(chance.choice((1, 5, 50, 300)))


def _slots(chance: random.Random) -> bytes:
    kind = chance.choice((wire.CALL, *range(20)))
    return _packed([kind, *(_value(chance) for _ in range(chance.choice((0, 1, 2, 3, 7))))])


def _call(chance: random.Random) -> bytes:
    slots: list[Any] = [wire.CALL, chance.randrange(1 << 40), chance.choice(("victim", 0)), chance.choice(METHODS)]
    slots += [[_value(chance) for _ in range(chance.randrange(4))], {}, None, None]
    if chance.random() < 0.5:
        slots[chance.randrange(1, 8)] = _value(chance)
    return _packed(slots)


def _extended(chance: random.Random) -> bytes:
    return _packed([wire.CALL, chance.randrange(1 << 40), "victim", "echo", [_extension(chance)], {}, None, None])


def _extension(chance: random.Random) -> Any:
    shape = [chance.choice((0, 1, 2, 3, *INTS[:4], 1 << 40, -5)) for _ in range(chance.choice((0, 1, 1, 2, 9)))]
    shape = [n if -(1 << 63) <= n < 1 << 63 else 1 for n in shape]
    head = header(chance.choice(DTYPES), shape, order=chance.choice((0, 0, 0, 1, 2)))
    if chance.random() < 0.2:
        head = struct.pack("<H", chance.randrange(1 << 16)) + head[2:]
    ref = TensorRef(chance.choice((0, 1, 2, 1 << 31)), *(abs(chance.choice(INTS)) for _ in range(3)))
    body = chance.choice((b"", ref.pack(), chance.randbytes(chance.randrange(100)), bytes(8)))
    inner = _packed([_value(chance, 2) for _ in range(chance.randrange(5))])
    return extension(chance.choice((*range(1, 17), 127)), chance.choice((head + body, inner, body, b"b" + ref.pack())))


def _value(chance: random.Random, depth: int = 0) -> Any:
    pick = chance.randrange(12 if depth < 2 else 8)
    if pick < 2:
        return chance.choice(INTS)
    if pick < 8:
        return (None, True, chance.choice((0.0, 1e308, float("nan"), -0.5)), chance.choice(METHODS),
                chance.randbytes(chance.randrange(60)), "x" * chance.choice((1, 70, 700)))[pick - 2]  # fmt: skip
    if pick < 9:
        return [_value(chance, depth + 1) for _ in range(chance.randrange(5))]
    if pick < 10:
        return {chance.choice(METHODS): _value(chance, depth + 1)}
    return _extension(chance)


def _packed(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value)
    return packed
