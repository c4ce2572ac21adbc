"""The extension types of the wire, by number; `codec` says what each holds."""

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
