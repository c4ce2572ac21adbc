"""Values from msgpack, arrays and proxies included.

Owns what is made of each extension type (see `extensions`), and what is refused; knows no sockets, and shared
memory only through one small seam: where an array is found (`Finder`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

import msgpack
import numpy as np

from . import wire
from .errors import HostLost, ProtocolError, UnknownObject
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
)
from .tensor import Array, Layout, TensorRef, Unsupported, header_of, read_header
from .values import read_memoryview, read_moment

_COLLIDING_MOST: Final = 1000  # keys of one table that may have the hash of another
_SPREAD_FROM: Final = 8 << 10  # a shorter payload has no room for so many
_NO_ARRAY: Final = header_of(np.dtype(np.void), (0,), "C"), Layout(np.dtype(np.void), (0,), "C", 0)


class Finder(Protocol):
    """Where a decoder finds what a reference means."""

    def view(self, ref: TensorRef, layout: Layout, copy_out: bool) -> Array:
        """The array itself. Raises ProtocolError for a reference outside the session's segments."""

    def take(self, ref: TensorRef) -> bytes:
        """A private copy of the bytes."""


class Decoder:
    """Unpacks payloads. `problem` is set when a value is sound but can't be held here."""

    def __init__(self, finder: Finder, *, writable: bool, proxy: Callable[[list[Any]], Any] | None = None) -> None:
        self._finder = finder
        self._writable = writable
        self._proxy = proxy
        self._depth = 0
        self._last = _NO_ARRAY  # the header of the last one, since the next one's is mostly the same
        self.problem: Exception | None = None
        self._short = partial(msgpack.unpackb, ext_hook=self._ext, strict_map_key=False, unicode_errors="surrogatepass")
        self._long = partial(self._short, object_pairs_hook=_table)

    def unpack(self, payload: Any) -> list[Any]:
        """One message. Raises ProtocolError for anything that breaks the rules."""
        self._depth = 0
        self.problem = None
        try:
            message = self._short(payload) if len(payload) <= _SPREAD_FROM else self._long(payload)
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

    def nested(self, data: Any) -> Any:
        self._depth += 1
        if self._depth > wire.MAX_DEPTH:
            raise ProtocolError(f"nested deeper than {wire.MAX_DEPTH}")
        value = self._short(data) if len(data) <= _SPREAD_FROM else self._long(data)
        self._depth -= 1
        return value

    def sequence(self, data: bytes) -> list[Any]:
        value = self.nested(data)
        if type(value) is not list:
            raise ProtocolError("a container that is not one")
        return value

    def array(self, data: bytes) -> Array:
        (dtype, shape, order, nbytes), start = self._header(data)
        if len(data) - start != nbytes:
            raise ProtocolError(f"{len(data) - start} bytes for an array of {nbytes}")
        if not nbytes:  # np.empty would make a "U0" a "U1"
            return np.ndarray(shape, dtype, order=order)
        return np.ndarray(shape, dtype, bytearray(data) if self._writable else data, start, None, order)

    def _header(self, data: bytes) -> tuple[Layout, int]:
        """See `read_header`."""
        head, layout = self._last
        if data.startswith(head):  # which tells its own length: nothing else can begin with it
            return layout, len(head)
        layout, length = read_header(data)
        self._last = data[:length], layout
        return layout, length

    def scalar(self, data: bytes) -> Any:
        layout, start = read_header(data)
        if layout.shape or len(data) - start != layout.nbytes:
            raise ProtocolError("a malformed scalar")
        if not layout.nbytes:
            return np.ndarray((), layout.dtype)[()]
        return np.ndarray((), layout.dtype, bytes(data), start)[()]

    def tensor(self, data: bytes, copy_out: bool = False) -> Array:
        try:
            layout, start = self._header(data)
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
    TENSOR: Decoder.tensor,
    TENSOR_COPY: lambda decoder, data: decoder.tensor(data, True),
    BYTES: Decoder.large,
    PROXY: Decoder.proxy,
    SLICE: lambda decoder, data: slice(*decoder.sequence(data)),
}
