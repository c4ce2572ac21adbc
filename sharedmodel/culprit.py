"""Which of many values can't cross, found after the fact: its path, and what may cross."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from . import wire
from .encoder import Encoder, ProxyBytes
from .errors import CannotCross
from .extensions import type_name
from .marks import CONTAINERS, outermost

MAY_CROSS: Final = (
    "None, bool, int, float, complex, str, bytes, bytearray, memoryview, list, tuple, dict, set, frozenset, "
    "slice, datetime, date, time, timedelta, numpy scalars and arrays of fixed-size dtypes, and proxies, "
    f"nested at most {wire.MAX_DEPTH} deep"
)


def explain(args: Iterable[tuple[str, Any]], proxy: ProxyBytes | None = None) -> CannotCross:
    """The error for values that did not cross: the path to the first culprit, and what may cross.

    ``args`` are pairs of a place ("argument 'x'") and the value there.
    """
    for place, value in args:
        if (found := _culprit(value, place, 0, proxy)) is not None:
            return CannotCross(f"{found}. What may cross: {MAY_CROSS}")
    return CannotCross(f"the values do not cross together. What may cross: {MAY_CROSS}")


def explain_call(args: tuple[Any, ...], kwargs: dict[str, Any], proxy: ProxyBytes | None) -> CannotCross:
    """The same for the arguments of a call."""
    places = [(f"argument {index}", value) for index, value in enumerate(args)]
    return explain(places + [(f"argument {key!r}", value) for key, value in kwargs.items()], proxy)


def _culprit(value: Any, path: str, depth: int, proxy: ProxyBytes | None) -> str | None:
    if depth > wire.MAX_DEPTH:
        return f"{path:.200}…: nested deeper than {wire.MAX_DEPTH}"
    for item, where in _inside(value, path):
        if (found := _culprit(item, where, depth + 1, proxy)) is not None:
            return found
    return None if type(value) in CONTAINERS else _alone(value, path, proxy)


def _inside(value: Any, path: str) -> Iterator[tuple[Any, str]]:
    kind = type(value)
    if kind in (list, tuple):
        yield from ((item, f"{path}[{index}]") for index, item in enumerate(value))
    elif kind in (set, frozenset):
        yield from ((item, f"{path}{{{_shown(item)}}}") for item in value)
    elif kind is dict:
        yield from ((key, f"{path}, key {_shown(key)}") for key in value)
        yield from ((item, f"{path}[{_shown(key)}]") for key, item in value.items())


def _alone(value: Any, path: str, proxy: ProxyBytes | None) -> str | None:
    try:
        Encoder(None, proxy).pack([outermost(value)])
    except CannotCross as exc:
        return f"{path}{_object_field(getattr(value, 'dtype', None))}: {exc}"
    return None


def _object_field(dtype: Any) -> str:
    """The path to the first field that holds objects."""
    for name, entry in (getattr(dtype, "fields", None) or {}).items():
        if entry[0].hasobject:
            return f".{name}{_object_field(entry[0].base)}"
    return ""


def _shown(value: Any) -> str:
    try:
        return f"{value!r:.40}"
    except Exception:  # not all can be printed: an int of 5000 digits, an object with a mistake of its own
        return f"<{type_name(value)}>"
