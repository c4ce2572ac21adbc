"""Values to msgpack and back, arrays and proxies included. What can't cross is named by its path.

Owns the extension types; knows no sockets, and shared memory only through two small seams: where an
array may be put (`Placer`) and where one is found (`Finder`).

    msgpack itself: None bool int(64 bit) float str bytes list dict
    ext  1 int of any size    2 complex      3 tuple       4 set        5 frozenset
         6 bytearray          7 memoryview   8 datetime …  9 numpy scalar
        10 array in the frame     header | bytes
        11 array in shared memory header | ref           12 the same, to be copied out at once
        13 bytes in shared memory kind   | ref           14 proxy
        15 slice
"""

from __future__ import annotations

import datetime as dt
import gc
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Protocol

import msgpack
import numpy as np

from . import wire
from .errors import CannotCross, ProtocolError, SharedModelError
from .tensor import Array, Layout, Order, TensorRef, Unsupported, header_of, read_header

INLINE_MAX: Final = 2048
LARGE_BYTES: Final = 64 << 10

BIGINT, COMPLEX, TUPLE, SET, FROZENSET, BYTEARRAY, MEMORYVIEW, MOMENT, SCALAR = range(1, 10)
ARRAY, TENSOR, TENSOR_COPY, BYTES, PROXY, SLICE = range(10, 16)

MAY_CROSS: Final = (
    "None, bool, int, float, complex, str, bytes, bytearray, memoryview, list, tuple, dict, set, frozenset, "
    "slice, datetime, date, time, timedelta, numpy scalars and arrays of fixed-size dtypes, and proxies, "
    f"nested at most {wire.MAX_DEPTH} deep"
)


_new = tuple.__new__


def extension(code: int, data: bytes) -> msgpack.ExtType:
    """An ExtType without the checks of its constructor, which take longer than packing it."""
    return _new(msgpack.ExtType, (code, data))


ProxyBytes = Callable[[Any], "bytes | None"]
_CONTAINERS: Final = frozenset({list, tuple, set, frozenset, dict})
_NESTED_MOST: Final = 520  # msgpack itself stops at 511


class Placer(Protocol):
    """Where an encoder puts arrays that should not ride in the frame."""

    def find(self, array: Array) -> TensorRef | None:
        """Where the array lies if it lies in a shared block already."""

    def place(self, nbytes: int) -> tuple[TensorRef, memoryview, bool] | None:
        """A block to copy into, and whether the reader must copy it out; None if there is none."""

    def undo(self, refs: list[TensorRef]) -> None:
        """The message was not sent: these were not used."""


class Finder(Protocol):
    """Where a decoder finds what a reference means."""

    def view(self, ref: TensorRef, layout: Layout, copy_out: bool) -> Array:
        """The array itself. Raises ProtocolError for a reference outside the session's segments."""

    def take(self, ref: TensorRef) -> bytes:
        """A private copy of the bytes."""


class _Marked:
    """Marks what msgpack would take its own way: long bytes, bytearrays and memoryviews."""

    __slots__ = ("data",)

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self.data = data


class Encoder:
    """Packs messages. One thread at a time; `refs` names the blocks of the last message."""

    def __init__(self, placer: Placer | None, proxy: ProxyBytes | None = None) -> None:
        self.placer = placer
        self.refs: list[TensorRef] = []
        self._proxy = proxy
        self._depth = 0
        self._errors: str | None = None
        self._packers = [_packer(self._default, 16 << 10)]

    def pack(self, message: list[Any]) -> bytes:
        """One payload. Raises CannotCross, without a path: `explain` finds it."""
        self.refs = []
        try:
            packed: bytes = self._packers[0].pack(message)
        except UnicodeEncodeError:
            # Lone surrogates (undecodable file names) cross too, by a slower way.
            if self.placer is not None:
                self.placer.undo(self.refs)
            self._restart("surrogatepass")
            return self.pack(message)
        except BaseException as exc:
            self._restart(None)
            if isinstance(exc, ValueError | TypeError | OverflowError) and not isinstance(exc, SharedModelError):
                raise CannotCross(str(exc)) from exc  # msgpack's own: too deep, too long
            raise
        return packed

    def _restart(self, errors: str | None) -> None:
        # A packer that raised in mid-message still holds its beginning.
        self._depth = 0
        self._errors = errors
        self._packers = [_packer(self._default, 16 << 10, errors)]

    def _default(self, value: Any) -> msgpack.ExtType:
        encode = _ENCODERS.get(type(value))
        if encode is not None:
            return encode(self, value)
        if isinstance(value, np.generic) and type(value) is value.dtype.type:
            raw = value.tobytes()[: value.dtype.itemsize]  # an empty np.str_ gives four bytes
            return extension(SCALAR, header_of(value.dtype, (), "C") + raw)
        packed = self._proxy(value) if self._proxy is not None else None
        if packed is None:
            raise CannotCross(f"{_name(value)} does not cross")
        return extension(PROXY, packed)

    def nested(self, items: Any) -> bytes:
        """Pack inside an extension, for which a second packer is needed."""
        self._depth += 1
        if self._depth > wire.MAX_DEPTH:
            raise CannotCross(f"nested deeper than {wire.MAX_DEPTH}")
        if self._depth == len(self._packers):
            self._packers.append(_packer(self._default, 1 << 10, self._errors))
        packed: bytes = self._packers[self._depth].pack(items)
        self._depth -= 1
        return packed

    def array(self, value: Array) -> msgpack.ExtType:
        nbytes = value.nbytes
        flags = value.flags
        order: Order = "C" if flags.c_contiguous or not flags.f_contiguous else "F"
        header = header_of(value.dtype, value.shape, order)
        placer = self.placer
        if placer is not None and nbytes:
            if flags.forc and (ref := placer.find(value)) is not None:
                return self._refer(TENSOR, header, ref)
            if nbytes > INLINE_MAX and (placed := placer.place(nbytes)) is not None:
                ref, buffer, copy_out = placed
                target: Array = np.ndarray(value.shape, value.dtype, buffer, 0, None, order)
                target[...] = value
                return self._refer(TENSOR_COPY if copy_out else TENSOR, header, ref)
        return extension(ARRAY, header + value.tobytes(order))

    def marked(self, value: _Marked) -> msgpack.ExtType | bytes | bytearray:
        data = value.data
        if type(data) is memoryview:
            return _memoryview(self, data)
        kind = b"a" if type(data) is bytearray else b"b"
        placed = self.placer.place(len(data)) if self.placer is not None and len(data) > LARGE_BYTES else None
        if placed is None:
            return extension(BYTEARRAY, bytes(data)) if kind == b"a" else bytes(data)
        ref, buffer, _ = placed
        buffer[: len(data)] = data
        return self._refer(BYTES, kind, ref)

    def _refer(self, code: int, head: bytes, ref: TensorRef) -> msgpack.ExtType:
        self.refs.append(ref)
        return extension(code, head + ref.pack())


def outermost(value: Any) -> Any:
    """Mark long bytes, so that they go through shared memory as arrays do, and what msgpack would make bytes of."""
    kind = type(value)
    if kind in _CONTAINERS:
        return _with_marks(value, 0) if _has_buffers(value) else value
    if kind is bytearray or kind is memoryview or (kind is bytes and len(value) > LARGE_BYTES):
        return _Marked(value)
    return value


def _has_buffers(value: Any) -> bool:
    """Whether a bytearray or a memoryview lies anywhere inside, found level by level without a Python loop."""
    level = [value]
    for _ in range(_NESTED_MOST):
        level = gc.get_referents(*level)
        kinds = set(map(type, level))
        if bytearray in kinds or memoryview in kinds:
            return True
        if kinds.isdisjoint(_CONTAINERS):
            return False
        level = list({id(item): item for item in level if type(item) in _CONTAINERS}.values())
    return False


def _with_marks(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind is bytearray or kind is memoryview:
        return _Marked(value)
    if kind not in _CONTAINERS:
        return value
    if depth > wire.MAX_DEPTH:
        raise CannotCross(f"nested deeper than {wire.MAX_DEPTH}")
    if kind is dict:
        return {_with_marks(key, depth + 1): _with_marks(item, depth + 1) for key, item in value.items()}
    return kind(_with_marks(item, depth + 1) for item in value)


class Decoder:
    """Unpacks payloads. `problem` is set when a value is sound but can't be held here."""

    def __init__(self, finder: Finder, *, writable: bool, proxy: Callable[[list[Any]], Any] | None = None) -> None:
        self._finder = finder
        self._writable = writable
        self._proxy = proxy
        self._depth = 0
        self.problem: Exception | None = None

    def unpack(self, payload: Any) -> list[Any]:
        """One message. Raises ProtocolError for anything that breaks the rules."""
        self._depth = 0
        self.problem = None
        try:
            message = msgpack.unpackb(payload, ext_hook=self._ext, strict_map_key=False, unicode_errors="surrogatepass")
            if type(message[0]) is int:
                return message  # type: ignore[no-any-return]
        except (ProtocolError, MemoryError):
            raise
        except Exception as exc:  # msgpack raises a dozen kinds, none of which says more than its text
            raise ProtocolError(f"a frame that is not msgpack: {exc or type(exc).__name__}") from exc
        raise ProtocolError("a frame that is not headed by its kind")

    def _ext(self, code: int, data: bytes) -> Any:
        decode = _DECODERS.get(code)
        if decode is None:
            raise ProtocolError(f"an extension of unknown kind {code}")
        try:
            return decode(self, data)
        except Unsupported as exc:
            self.problem = exc
            return None
        except ProtocolError:
            raise
        except Exception as exc:
            raise ProtocolError(f"a malformed extension of kind {code}: {exc}") from exc

    def nested(self, data: Any) -> Any:
        self._depth += 1
        if self._depth > wire.MAX_DEPTH:
            raise ProtocolError(f"nested deeper than {wire.MAX_DEPTH}")
        value = msgpack.unpackb(data, ext_hook=self._ext, strict_map_key=False, unicode_errors="surrogatepass")
        self._depth -= 1
        return value

    def sequence(self, data: bytes) -> list[Any]:
        value = self.nested(data)
        if type(value) is not list:
            raise ProtocolError("a container that is not one")
        return value

    def array(self, data: bytes) -> Array:
        layout, start = read_header(data)
        if len(data) - start != layout.nbytes:
            raise ProtocolError(f"{len(data) - start} bytes for an array of {layout.nbytes}")
        buffer: Any = data
        if self._writable:
            buffer, start = bytearray(memoryview(data)[start:]), 0
        if not layout.nbytes:  # np.empty would make a "U0" a "U1"
            return np.ndarray(layout.shape, layout.dtype, order=layout.order)
        return np.ndarray(layout.shape, layout.dtype, buffer, start, None, layout.order)

    def scalar(self, data: bytes) -> Any:
        layout, start = read_header(data)
        if layout.shape or len(data) - start != layout.nbytes:
            raise ProtocolError("a malformed scalar")
        if not layout.nbytes:
            return np.ndarray((), layout.dtype)[()]
        return np.ndarray((), layout.dtype, bytes(data), start)[()]

    def tensor(self, data: bytes, copy_out: bool) -> Array:
        layout, start = read_header(data)
        ref = TensorRef.unpack(data, start)
        if ref.nbytes != layout.nbytes:
            raise ProtocolError(f"a reference to {ref.nbytes} bytes for an array of {layout.nbytes}")
        return self._finder.view(ref, layout, copy_out)

    def large(self, data: bytes) -> bytes | bytearray:
        taken = self._finder.take(TensorRef.unpack(data, 1))
        return bytearray(taken) if data[:1] == b"a" else taken

    def proxy(self, data: bytes) -> Any:
        if self._proxy is None:
            raise ProtocolError("a proxy where none is expected")
        return self._proxy(self.sequence(data))


def _packer(default: Callable[[Any], Any], size: int, errors: str | None = None) -> msgpack.Packer:
    return msgpack.Packer(default=default, strict_types=True, autoreset=True, buf_size=size, unicode_errors=errors)


def _name(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _bigint(_: Encoder, value: int) -> msgpack.ExtType:
    return extension(BIGINT, value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True))


def _complex(_: Encoder, value: complex) -> msgpack.ExtType:
    return extension(COMPLEX, np.complex128(value).tobytes())


def _memoryview(encoder: Encoder, value: memoryview) -> msgpack.ExtType:
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


def _read_memoryview(decoder: Decoder, data: bytes) -> memoryview:
    form, shape, raw = decoder.sequence(data)
    if type(raw) is not bytes:
        raise ProtocolError("a malformed memoryview")
    return _cast(raw, form, shape)


def _moment(encoder: Encoder, value: Any) -> msgpack.ExtType:
    if isinstance(value, dt.timedelta):
        return extension(MOMENT, encoder.nested(["d", value.days, value.seconds, value.microseconds]))
    zone = getattr(value, "tzinfo", None)
    key = None
    if type(zone) is dt.timezone:
        key = [zone.utcoffset(None), zone.tzname(None)] if zone != dt.UTC else None  # the ISO text has no names
    elif zone is not None:
        key = getattr(zone, "key", None)
        if key is None or type(zone).__module__ != "zoneinfo":
            raise CannotCross(f"{_name(value)} with a tzinfo of type {_name(zone)}: only timezone and ZoneInfo cross")
    kind = {dt.datetime: "m", dt.date: "y", dt.time: "t"}[type(value)]
    text = value.replace(tzinfo=None).isoformat() if key else value.isoformat()
    return extension(MOMENT, encoder.nested([kind, text, getattr(value, "fold", 0), key]))


def _read_moment(decoder: Decoder, data: bytes) -> Any:
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


def _contained(code: int) -> Callable[[Encoder, Any], msgpack.ExtType]:
    return lambda encoder, value: extension(code, encoder.nested(list(value)))


_ENCODERS: Final[dict[type, Callable[[Encoder, Any], Any]]] = {
    np.ndarray: Encoder.array,
    np.memmap: lambda encoder, value: encoder.array(np.asarray(value)),
    tuple: _contained(TUPLE),
    set: _contained(SET),
    frozenset: _contained(FROZENSET),
    int: _bigint,
    complex: _complex,
    slice: lambda encoder, value: extension(SLICE, encoder.nested([value.start, value.stop, value.step])),
    dt.datetime: _moment,
    dt.date: _moment,
    dt.time: _moment,
    dt.timedelta: _moment,
    _Marked: Encoder.marked,
    # As with the standard library's managers: what a dict says of itself comes back as a list.
    **dict.fromkeys(
        (type({}.keys()), type({}.values()), type({}.items())), lambda _, value: _with_marks(list(value), 0)
    ),
}

_DECODERS: Final[dict[int, Callable[[Decoder, bytes], Any]]] = {
    BIGINT: lambda _, data: int.from_bytes(data, "little", signed=True),
    COMPLEX: lambda _, data: complex(np.frombuffer(data, np.complex128, 1)[0]),
    TUPLE: lambda decoder, data: tuple(decoder.sequence(data)),
    SET: lambda decoder, data: set(decoder.sequence(data)),
    FROZENSET: lambda decoder, data: frozenset(decoder.sequence(data)),
    BYTEARRAY: lambda _, data: bytearray(data),
    MEMORYVIEW: _read_memoryview,
    MOMENT: _read_moment,
    SCALAR: Decoder.scalar,
    ARRAY: Decoder.array,
    TENSOR: lambda decoder, data: decoder.tensor(data, False),
    TENSOR_COPY: lambda decoder, data: decoder.tensor(data, True),
    BYTES: Decoder.large,
    PROXY: Decoder.proxy,
    SLICE: lambda decoder, data: slice(*decoder.sequence(data)),
}


def explain(args: Iterable[tuple[str, Any]], proxy: ProxyBytes | None = None) -> CannotCross:
    """The error for values that did not cross: the path to the first culprit, and what may cross.

    ``args`` are pairs of a place ("argument 'x'") and the value there.
    """
    for place, value in args:
        if (found := _culprit(value, place, 0, proxy)) is not None:
            return CannotCross(f"{found}. What may cross: {MAY_CROSS}")
    return CannotCross(f"the values do not cross together. What may cross: {MAY_CROSS}")


def _culprit(value: Any, path: str, depth: int, proxy: ProxyBytes | None) -> str | None:
    if depth > wire.MAX_DEPTH:
        return f"{path:.200}…: nested deeper than {wire.MAX_DEPTH}"
    for item, where in _inside(value, path):
        if (found := _culprit(item, where, depth + 1, proxy)) is not None:
            return found
    return None if type(value) in _CONTAINERS else _alone(value, path, proxy)


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
        return f"<{_name(value)}>"
