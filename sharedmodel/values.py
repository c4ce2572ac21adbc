"""Single values that msgpack does not know: large and complex numbers, memoryviews, moments in time."""

from __future__ import annotations

import datetime as dt
from typing import Any, Protocol

import msgpack
import numpy as np

from .errors import CannotCross, ProtocolError
from .extensions import BIGINT, COMPLEX, MEMORYVIEW, MOMENT, extension, type_name
from .tensor import Unsupported


class Nesting(Protocol):
    """An encoder, to which a value hands its parts."""

    def nested(self, items: Any) -> bytes: ...


class Opening(Protocol):
    """A decoder, which takes the parts apart."""

    def sequence(self, data: bytes) -> list[Any]: ...


def write_int(_: Nesting, value: int) -> msgpack.ExtType:
    return extension(BIGINT, value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True))


def write_complex(_: Nesting, value: complex) -> msgpack.ExtType:
    return extension(COMPLEX, np.complex128(value).tobytes())


def write_memoryview(encoder: Nesting, value: memoryview) -> msgpack.ExtType:
    form, shape = value.format, list(value.shape or ())
    try:
        _cast(b"", form, [0])
    except ValueError:
        raise CannotCross(f"a memoryview of format {form!r}: only single native types cross") from None
    if 0 in shape and len(shape) > 1:
        raise CannotCross(f"a memoryview of shape {value.shape}: empty ones cross with one dimension only")
    return extension(MEMORYVIEW, encoder.nested([form, shape, value.tobytes()]))


def _cast(raw: bytes, form: Any, shape: Any) -> memoryview:
    return memoryview(raw).cast(form) if shape == [0] else memoryview(raw).cast(form, shape)


def read_memoryview(decoder: Opening, data: bytes) -> memoryview:
    form, shape, raw = decoder.sequence(data)
    if type(raw) is not bytes:
        raise ProtocolError("a malformed memoryview")
    return _cast(raw, form, shape)


def write_moment(encoder: Nesting, value: Any) -> msgpack.ExtType:
    if isinstance(value, dt.timedelta):
        return extension(MOMENT, encoder.nested(["d", value.days, value.seconds, value.microseconds]))
    zone = getattr(value, "tzinfo", None)
    key = None
    if type(zone) is dt.timezone:
        key = [zone.utcoffset(None), zone.tzname(None)] if zone != dt.UTC else None  # the ISO text has no names
    elif zone is not None:
        key = getattr(zone, "key", None)
        if key is None or type(zone).__module__ != "zoneinfo":
            raise CannotCross(
                f"{type_name(value)} with a tzinfo of type {type_name(zone)}: only timezone and ZoneInfo cross"
            )
    kind = {dt.datetime: "m", dt.date: "y", dt.time: "t"}[type(value)]
    text = value.replace(tzinfo=None).isoformat() if key else value.isoformat()
    return extension(MOMENT, encoder.nested([kind, text, getattr(value, "fold", 0), key]))


def read_moment(decoder: Opening, data: bytes) -> Any:
    kind, *rest = decoder.sequence(data)
    if kind == "d":
        return dt.timedelta(*rest)
    text, fold, key = rest
    if kind == "y":
        return dt.date.fromisoformat(text)
    value: Any = (dt.datetime if kind == "m" else dt.time).fromisoformat(text)
    if key is not None:
        value = value.replace(tzinfo=_zone(key))
    return value.replace(fold=fold)


def _zone(key: Any) -> dt.tzinfo:
    if type(key) is list:
        return dt.timezone(*key)
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(key)
    except ZoneInfoNotFoundError as exc:
        raise Unsupported(f"the time zone {key} is not known here (install tzdata)") from exc
