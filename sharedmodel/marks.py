"""Marks on arguments that msgpack would take its own way, which is not ours.

Long bytes go through shared memory as arrays do; a bytearray or a memoryview, which msgpack makes
bytes of, stays what it is.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Sequence
from itertools import compress
from typing import Any, Final

import numpy as np

from . import wire
from .errors import CannotCross

LARGE_BYTES: Final = 64 << 10
CONTAINERS: Final = frozenset({list, tuple, set, frozenset, dict})
# Nothing in these is to be marked, nor are they themselves.
_PLAIN: Final = frozenset({np.ndarray, str, int, float, bool, type(None)})
_NESTED_MOST: Final = 520  # msgpack itself stops at 511


class Marked:
    """Marks what msgpack would take its own way: long bytes, bytearrays and memoryviews."""

    __slots__ = ("data",)

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self.data = data


def marked(values: Sequence[Any]) -> list[Any]:
    """Each value, and what lies in it, with the marks that it needs."""
    for value in values:
        kind = type(value)
        if kind not in _PLAIN and not (kind is dict and _plain(value) and _plain(value.values())):
            return [outermost(value) for value in values]
    return list(values)  # as nearly all are


def outermost(value: Any) -> Any:
    """Mark long bytes, so that they go through shared memory as arrays do, and what msgpack would make bytes of."""
    kind = type(value)
    if kind in CONTAINERS:
        return value if (kind is list and _plain(value)) or not _has_buffers(value) else with_marks(value, 0)
    if kind is bytearray or kind is memoryview or (kind is bytes and len(value) > LARGE_BYTES):
        return Marked(value)
    return value


def _plain(values: Iterable[Any]) -> bool:
    return _PLAIN.issuperset(map(type, values))


def _has_buffers(value: Any) -> bool:
    """Whether a bytearray or a memoryview lies anywhere inside, found level by level without a Python loop."""
    level = [value]
    for _ in range(_NESTED_MOST):
        level = gc.get_referents(*level)
        kinds = set(map(type, level))
        if bytearray in kinds or memoryview in kinds:
            return True
        if kinds.isdisjoint(CONTAINERS):
            return False
        found = list(compress(level, map(CONTAINERS.__contains__, map(type, level))))
        level = list(dict(zip(map(id, found), found, strict=True)).values())
    return False


def with_marks(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind is bytearray or kind is memoryview:
        return Marked(value)
    if kind not in CONTAINERS:
        return value
    if depth > wire.MAX_DEPTH:
        raise CannotCross(f"nested deeper than {wire.MAX_DEPTH}")
    if kind is dict:
        return {with_marks(key, depth + 1): with_marks(item, depth + 1) for key, item in value.items()}
    return kind(with_marks(item, depth + 1) for item in value)
