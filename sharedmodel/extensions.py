"""The extension types of the wire. `encoder` makes them, `decoder` takes them apart.

msgpack itself: None bool int(64 bit) float str bytes list dict
ext  1 int of any size    2 complex      3 tuple       4 set        5 frozenset
     6 bytearray          7 memoryview   8 datetime …  9 numpy scalar
    10 array in the frame     header | bytes
    11 array in shared memory header | ref           12 the same, to be copied out at once
    13 bytes in shared memory kind   | ref           14 proxy
    15 slice
"""

from __future__ import annotations

from typing import Any

import msgpack

BIGINT, COMPLEX, TUPLE, SET, FROZENSET, BYTEARRAY, MEMORYVIEW, MOMENT, SCALAR = range(1, 10)
ARRAY, TENSOR, TENSOR_COPY, BYTES, PROXY, SLICE = range(10, 16)

_new = tuple.__new__


def extension(code: int, data: bytes) -> msgpack.ExtType:
    """An ExtType without the checks of its constructor, which take longer than packing it."""
    return _new(msgpack.ExtType, (code, data))


def type_name(value: Any) -> str:
    """A value's type, as an error names it."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
