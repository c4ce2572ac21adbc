"""Values to msgpack and back, arrays and proxies included.

Owns what each extension type holds; knows no sockets, and shared memory only through two small seams: where an
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
from collections.abc import Callable
from typing import Any, Final, Protocol

import msgpack
import numpy as np

from . import wire
from .errors import CannotCross, HostLost, ProtocolError, SharedModelError, UnknownObject
from .extensions import (
    ARRAY,
    BIGINT,
    BYTEARRAY,
    BYTES,
    COMPLEX,
    FROZENSET,
    MEMORYVIEW,
    MOMENT,
    PROXY,
    SCALAR,
    SET,
    SLICE,
    TENSOR,
    TENSOR_COPY,
    TUPLE,
    extension,
    type_name,
)  # fmt: skip
from .marks import LARGE_BYTES, Marked, with_marks
from .tensor import Array, Layout, Order, TensorRef, Unsupported, header_of, read_header
from .values import read_memoryview, read_moment, write_complex, write_int, write_memoryview, write_moment

INLINE_MAX: Final = 2048
_COLLIDING_MOST: Final = 1000  # keys of one table that may have the hash of another
_SPREAD_FROM: Final = 8 << 10  # a shorter payload has no room for so many


ProxyBytes = Callable[[Any], "bytes | None"]


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
            raise CannotCross(f"{type_name(value)} does not cross")
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

    def marked(self, value: Marked) -> msgpack.ExtType | bytes | bytearray:
        data = value.data
        if type(data) is memoryview:
            return write_memoryview(self, data)
        kind = b"a" if type(data) is bytearray else b"b"
        placed = self.placer.place(len(data)) if self.placer is not None and len(data) > LARGE_BYTES else None
        if placed is None:
            return extension(BYTEARRAY, bytes(data)) if kind == b"a" else bytes(data)
        ref, buffer, _ = placed
        buffer[: len(data)] = data
        return self._refer(BYTES, kind, ref)

    def long(self, rid: int, payload: bytes) -> bytes:
        """The frames of a payload that is too long to ride in one: in shared memory, or in pieces."""
        placed = self.placer.place(len(payload)) if self.placer is not None else None
        if placed is None:
            if len(payload) <= wire.MAX_FRAME:
                return wire.framed(payload)
            return b"".join(wire.parts(rid, payload))
        ref, buffer, _ = placed
        buffer[: len(payload)] = payload
        self.refs.append(ref)
        return wire.frame([wire.SPILL, rid, ref.pack()])

    def _refer(self, code: int, head: bytes, ref: TensorRef) -> msgpack.ExtType:
        self.refs.append(ref)
        return extension(code, head + ref.pack())


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
            message = self._unpacked(payload)
            if type(message[0]) is int and 0 <= message[0] < 256:
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
        except (Unsupported, UnknownObject, HostLost) as exc:  # of this value, and no fault of the frame's
            self.problem = exc
            return None
        except ProtocolError:
            raise
        except Exception as exc:
            raise ProtocolError(f"a malformed extension of kind {code}: {exc}") from exc

    def _unpacked(self, data: Any) -> Any:
        return msgpack.unpackb(
            data,
            ext_hook=self._ext,
            object_pairs_hook=_table if len(data) > _SPREAD_FROM else None,
            strict_map_key=False,
            unicode_errors="surrogatepass",
        )

    def nested(self, data: Any) -> Any:
        self._depth += 1
        if self._depth > wire.MAX_DEPTH:
            raise ProtocolError(f"nested deeper than {wire.MAX_DEPTH}")
        value = self._unpacked(data)
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
        try:
            layout, start = read_header(data)
        except Unsupported:
            self._finder.take(TensorRef.unpack(data, data[0] | data[1] << 8))  # the block goes back all the same
            raise
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
        fields = self.sequence(data)
        if self.problem is not None:
            return None  # the call has failed already: no further host is asked
        try:
            return self._proxy(fields)
        except ProtocolError:
            raise
        except Exception as exc:  # its object is gone, its host does not answer: that call's misfortune
            self.problem = exc
            return None


def _table(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    if len(pairs) > _COLLIDING_MOST:
        _spread([key for key, _ in pairs])
    return dict(pairs)


def _spread(keys: list[Any]) -> list[Any]:
    """The keys. Raises ProtocolError for ones chosen to collide: a table of them takes minutes, with the GIL held."""
    if len(keys) > _COLLIDING_MOST and len(keys) - len(set(map(hash, keys))) > _COLLIDING_MOST:
        raise ProtocolError("keys that all have the same hash")
    return keys


def _packer(default: Callable[[Any], Any], size: int, errors: str | None = None) -> msgpack.Packer:
    return msgpack.Packer(default=default, strict_types=True, autoreset=True, buf_size=size, unicode_errors=errors)


def _contained(code: int) -> Callable[[Encoder, Any], msgpack.ExtType]:
    return lambda encoder, value: extension(code, encoder.nested(list(value)))


_ENCODERS: Final[dict[type, Callable[[Encoder, Any], Any]]] = {
    np.ndarray: Encoder.array,
    np.memmap: lambda encoder, value: encoder.array(np.asarray(value)),
    tuple: _contained(TUPLE),
    set: _contained(SET),
    frozenset: _contained(FROZENSET),
    int: write_int,
    complex: write_complex,
    slice: lambda encoder, value: extension(SLICE, encoder.nested([value.start, value.stop, value.step])),
    dt.datetime: write_moment,
    dt.date: write_moment,
    dt.time: write_moment,
    dt.timedelta: write_moment,
    Marked: Encoder.marked,
    # As with the standard library's managers: what a dict says of itself comes back as a list.
    **dict.fromkeys(
        (type({}.keys()), type({}.values()), type({}.items())), lambda _, value: with_marks(list(value), 0)
    ),
}

_DECODERS: Final[dict[int, Callable[[Decoder, bytes], Any]]] = {
    BIGINT: lambda _, data: int.from_bytes(data, "little", signed=True),
    COMPLEX: lambda _, data: complex(np.frombuffer(data, np.complex128, 1)[0]),
    TUPLE: lambda decoder, data: tuple(decoder.sequence(data)),
    SET: lambda decoder, data: set(_spread(decoder.sequence(data))),
    FROZENSET: lambda decoder, data: frozenset(_spread(decoder.sequence(data))),
    BYTEARRAY: lambda _, data: bytearray(data),
    MEMORYVIEW: read_memoryview,
    MOMENT: read_moment,
    SCALAR: Decoder.scalar,
    ARRAY: Decoder.array,
    TENSOR: lambda decoder, data: decoder.tensor(data, False),
    TENSOR_COPY: lambda decoder, data: decoder.tensor(data, True),
    BYTES: Decoder.large,
    PROXY: Decoder.proxy,
    SLICE: lambda decoder, data: slice(*decoder.sequence(data)),
}
