"""How an array is described on the wire: its dtype, shape and memory order, and where its bytes lie.

Owns the array header and the reference to a block; knows nothing of sockets or shared memory.

    header   u16 length | u8 order | u8 ndim | i64 × ndim | dtype text, padded with NUL to 16 bytes
    ref      u32 segment | u64 offset | u64 bytes | u64 block (its serial number, never reused)

Headers repeat from call to call, so both directions go through a small cache.
"""

from __future__ import annotations

import json
import math
import re
import struct
import sys
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from .errors import CannotCross, ProtocolError

MAX_DIMS: Final = 64  # numpy's own limit since 2.0
MAX_BYTES: Final = 1 << 48  # far above any machine, far below an int64 overflow
_CACHE_MAX: Final = 2048
_CACHED_LENGTH: Final = 1024
_ALIGN: Final = 16
_FIXED: Final = struct.Struct("<HBB")
_REF: Final = struct.Struct("<IQQQ")
pack_ref = _REF.pack
# The only types outside numpy that may be named on the wire; their dtype text is "ml_dtypes:NAME".
_ML_DTYPES: Final = frozenset(
    {"bfloat16", "float8_e3m4", "float8_e4m3", "float8_e4m3b11fnuz", "float8_e4m3fn"}
    | {"float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"}
)
_NESTED_MAX: Final = 16
_FIELDS: Final = ("names", "formats", "offsets", "titles", "itemsize", "aligned")
_PLAIN: Final = re.compile(r"[<>|=][biufcSUVMm]\d+(\[[0-9]*[A-Za-z]+\])?\Z")

Array = np.ndarray[Any, np.dtype[Any]]
Order = Literal["C", "F"]


class Unsupported(Exception):
    """A dtype that is well formed but that this process cannot hold (ml_dtypes is missing)."""


class Layout(NamedTuple):
    """What the bytes mean."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    order: Order
    nbytes: int


class TensorRef(NamedTuple):
    """Where the bytes lie: ``nbytes`` from ``offset`` of ``segment``, in block number ``block``."""

    segment: int
    offset: int
    nbytes: int
    block: int

    def pack(self) -> bytes:
        return _REF.pack(*self)

    @classmethod
    def unpack(cls, data: bytes, at: int) -> TensorRef:
        try:
            return tuple.__new__(cls, _REF.unpack_from(data, at))  # _make is written in Python
        except struct.error as exc:
            raise ProtocolError("a tensor reference is cut short") from exc


_headers: dict[tuple[np.dtype[Any], type, tuple[int, ...], str], bytes] = {}
_layouts: dict[bytes, Layout] = {}


def header_of(dtype: np.dtype[Any], shape: tuple[int, ...], order: str) -> bytes:
    """The header of an array. Raises CannotCross for a dtype that holds Python objects."""
    key = (dtype, dtype.type, shape, order)  # a record is equal to its plain structure
    found = _headers.get(key)
    if found is None:
        found = _build(dtype, shape, order)
        if len(_headers) >= _CACHE_MAX:
            _headers.clear()
        if len(found) <= _CACHED_LENGTH:
            _headers[key] = found
    return found


def read_header(data: bytes) -> tuple[Layout, int]:
    """The layout at the start of ``data`` and the header's length.

    Raises ProtocolError for a header that makes no sense, Unsupported for a foreign dtype.
    """
    if len(data) < _FIXED.size:
        raise ProtocolError("an array header is cut short")
    length = data[0] | data[1] << 8
    head = data[:length]
    found = _layouts.get(head)
    if found is None:
        found = _parse(head, length)
        if len(_layouts) >= _CACHE_MAX:
            _layouts.clear()
        if length <= _CACHED_LENGTH:  # a peer may make up long ones without end
            _layouts[head] = found
    return found, length


def _build(dtype: np.dtype[Any], shape: tuple[int, ...], order: str) -> bytes:
    text = _dtype_text(dtype).encode()
    size = _FIXED.size + 8 * len(shape) + len(text)
    size += -size % _ALIGN
    if size > 0xFFFF:
        raise CannotCross(f"a dtype whose description takes {size} bytes; at most 65535 may cross")
    head = _FIXED.pack(size, order == "F", len(shape)) + struct.pack(f"<{len(shape)}q", *shape)
    return (head + text).ljust(size, b"\0")


def _parse(head: bytes, length: int) -> Layout:
    if len(head) != length or length < _FIXED.size or length % _ALIGN:
        raise ProtocolError("an array header is cut short")
    _, order, ndim = _FIXED.unpack_from(head)
    start = _FIXED.size + 8 * ndim
    if ndim > MAX_DIMS or start > length or order > 1:
        raise ProtocolError(f"an array header claims {ndim} dimensions and order {order}")
    shape = struct.unpack_from(f"<{ndim}q", head, _FIXED.size)
    dtype = _dtype_from(head[start:].rstrip(b"\0"))
    if any(n < 0 for n in shape):
        raise ProtocolError(f"an array header claims the shape {shape}")
    # Zero-sized axes do not excuse absurd ones beside them: numpy refuses those too.
    if math.prod(max(n, 1) for n in shape) * max(dtype.itemsize, 1) > MAX_BYTES:
        raise ProtocolError(f"an array header claims the shape {shape} of {dtype}")
    return Layout(dtype, shape, "F" if order else "C", math.prod(shape) * dtype.itemsize)


def _dtype_text(dtype: np.dtype[Any]) -> str:
    if dtype.hasobject:
        raise CannotCross(f"an array of dtype {dtype}: its elements are Python objects")
    module = dtype.type.__module__
    if module == "ml_dtypes" and dtype.type.__name__ in _ML_DTYPES:
        return "ml_dtypes:" + dtype.type.__name__
    if dtype.names is not None or dtype.subdtype is not None:
        return json.dumps(_described(dtype))
    if dtype.kind not in "biufcSUVMm" or module != "numpy":
        raise CannotCross(f"an array of dtype {dtype}: only fixed-size dtypes cross")
    return dtype.str


def _described(dtype: np.dtype[Any], depth: int = 0) -> Any:
    """A dtype in JSON: its text, [base, shape] of a subarray, or the fields with all that places them.

    numpy's own description can't tell foreign types inside, nor fields that are out of order or overlap.
    """
    if depth > _NESTED_MAX:
        raise CannotCross(f"a dtype nested deeper than {_NESTED_MAX}")
    if dtype.subdtype is not None:
        return [_described(dtype.subdtype[0], depth + 1), dtype.subdtype[1]]
    if dtype.fields is None or dtype.names is None:
        return _dtype_text(dtype)
    if dtype.type not in (np.void, np.record):
        raise CannotCross(f"an array of dtype {dtype}: only fixed-size dtypes cross")
    each = [dtype.fields[name] for name in dtype.names]
    return {
        "names": dtype.names,
        "formats": [_described(field[0], depth + 1) for field in each],
        "offsets": [field[1] for field in each],
        "titles": [field[2] if len(field) > 2 else None for field in each],
        "itemsize": dtype.itemsize,
        "aligned": dtype.isalignedstruct,
        "record": dtype.type is np.record,
    }


def _dtype_from(raw: bytes) -> np.dtype[Any]:
    try:
        dtype = _read_dtype(raw.decode())
    except Unsupported:
        raise
    except Exception as exc:
        raise ProtocolError(f"an array header names the dtype {raw[:80]!r}") from exc
    if dtype.hasobject:
        raise ProtocolError(f"an array header names the dtype {raw[:80]!r}, which holds objects")
    return dtype


def _read_dtype(text: str) -> np.dtype[Any]:
    if text.startswith("ml_dtypes:"):
        return _ml_dtype(text.removeprefix("ml_dtypes:"))
    if text.startswith(("[", "{")):
        return _undescribed(json.loads(text), 0)
    if not _PLAIN.match(text):
        raise ValueError(text)
    return np.dtype(text)


def _undescribed(form: Any, depth: int) -> np.dtype[Any]:
    if depth > _NESTED_MAX:
        raise ValueError(f"a dtype nested deeper than {_NESTED_MAX}")
    found: np.dtype[Any]
    if type(form) is dict:
        fields = {**form, "formats": [_undescribed(field, depth + 1) for field in form["formats"]]}
        found = np.dtype({key: fields[key] for key in _FIELDS})  # type: ignore[call-overload]
        return np.dtype((np.record, found)) if form["record"] else found
    if type(form) is list:
        base, shape = form
        found = np.dtype((_undescribed(base, depth + 1), tuple(shape)))
        return found
    if type(form) is not str or form.startswith(("[", "{")):
        raise ValueError(form)
    return _read_dtype(form)


def _ml_dtype(name: str) -> np.dtype[Any]:
    if name not in _ML_DTYPES:
        raise ValueError(name)
    if "ml_dtypes" not in sys.modules:
        try:
            import ml_dtypes  # noqa: F401  (registers its types with numpy)
        except ImportError as exc:
            raise Unsupported(f"dtype {name} needs the package ml_dtypes, which is not here") from exc
    found: np.dtype[Any] = np.dtype(getattr(sys.modules["ml_dtypes"], name))
    return found
