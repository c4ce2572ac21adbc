"""Values to msgpack, arrays and proxies included.

Owns what each extension type is made of (see `extensions`); knows no sockets, and shared memory only through one
small seam: where an array may be put (`Placer`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any, Final, Protocol

import msgpack
import numpy as np

from . import wire
from .errors import CannotCross, SharedModelError
from .extensions import (
    ARRAY,
    BYTEARRAY,
    BYTES,
    FROZENSET,
    PROXY,
    SCALAR,
    SET,
    SLICE,
    TENSOR,
    TENSOR_COPY,
    TUPLE,
    extension,
    type_name,
)
from .marks import LARGE_BYTES, Marked, with_marks
from .tensor import Array, Order, TensorRef, header_of, pack_ref
from .values import write_complex, write_int, write_memoryview, write_moment

_new = tuple.__new__  # for ExtType, see `extension`
INLINE_MAX: Final = 2048  # bytes of an array up to which it rides in the frame

ProxyBytes = Callable[[Any], "bytes | None"]


class Placer(Protocol):
    """Where an encoder puts arrays that should not ride in the frame."""

    def find(self, array: Array) -> TensorRef | None:
        """Where the array lies if it lies in a shared block already."""

    def place(self, nbytes: int) -> tuple[TensorRef, memoryview, bool] | None:
        """A block to copy into, and whether the reader must copy it out; None if there is none."""

    def undo(self, refs: list[TensorRef]) -> None:
        """The message was not sent: these were not used."""


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
        nbytes, dtype, shape, flags = value.nbytes, value.dtype, value.shape, value.flags
        order: Order = "C" if flags.c_contiguous or not flags.f_contiguous else "F"
        header = header_of(dtype, shape, order)
        placer = self.placer
        if nbytes > INLINE_MAX and placer is not None:
            if flags.forc and (ref := placer.find(value)) is not None:
                return self._refer(TENSOR, header, ref)
            if (placed := placer.place(nbytes)) is not None:
                ref, buffer, copy_out = placed
                target: Array = np.ndarray(shape, dtype, buffer, 0, None, order)
                target[...] = value
                return self._refer(TENSOR_COPY if copy_out else TENSOR, header, ref)
        return _new(msgpack.ExtType, (ARRAY, header + value.tobytes(order)))

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
        return _new(msgpack.ExtType, (code, head + pack_ref(*ref)))


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
