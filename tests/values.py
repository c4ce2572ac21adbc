"""Values that cross: strategies for all of them, and a form in which two are equal only if nothing differs."""

from __future__ import annotations

import datetime as dt
import hashlib
import struct
from typing import Any
from zoneinfo import ZoneInfo

import ml_dtypes
import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

_ML = (
    "bfloat16 float8_e3m4 float8_e4m3 float8_e4m3b11fnuz float8_e4m3fn float8_e4m3fnuz float8_e5m2 "
    "float8_e5m2fnuz float8_e8m0fnu"
)
_PLAIN = (
    "? b B <i2 >i2 <u2 >u2 <i4 >i4 <u4 >u4 <i8 >i8 <u8 >u8 <f2 >f2 <f4 >f4 <f8 >f8 g <c8 >c8 <c16 >c16 G "
    "S0 S1 S7 <U0 <U1 <U5 >U3 V0 V1 V9 "
    "<M8 <M8[Y] <M8[D] >M8[h] <M8[ms] <M8[25us] <M8[as] <m8 <m8[W] >m8[ns] <m8[10s]"
)
ML_DTYPES = [np.dtype(getattr(ml_dtypes, name)) for name in _ML.split()]
PLAIN_DTYPES = [np.dtype(text) for text in _PLAIN.split()]
_ROW = np.dtype([("id", "<i4"), ("score", ">f8"), ("name", "<U3")])
STRUCTURED_DTYPES = [
    _ROW,
    np.dtype([("a", "i1"), ("b", "f8")], align=True),
    np.dtype([("outer", [("inner", [("x", "u1"), ("y", ">i2")]), ("z", "<m8[s]")]), ("w", "?")]),
    np.dtype([("matrix", "<f4", (2, 3)), ("rows", _ROW, (2,))]),
    np.dtype([(("a title", "field"), "<i8"), ("g", "g")]),
    np.dtype({"names": ["x", "y"], "formats": ["<i2", "S3"], "offsets": [4, 9], "itemsize": 20}),
    np.dtype({"names": ["late", "early"], "formats": ["<i4", "<i2"], "offsets": [8, 0]}),
    np.dtype({"names": ["whole", "half"], "formats": ["<u4", "<u2"], "offsets": [0, 2]}),
    np.dtype([("weights", ml_dtypes.bfloat16), ("tiny", ml_dtypes.float8_e4m3fn, (4,))]),
    np.dtype([("имя поля", "f4"), ("'quoted\"", "i4"), ("line\nbreak", "V2")]),
    np.dtype([]),
]
ALL_DTYPES = PLAIN_DTYPES + ML_DTYPES + STRUCTURED_DTYPES


def canon(value: Any) -> Any:
    """Equal for two values only if they have the same types, bytes, dtypes, shapes and orders throughout."""
    kind = type(value)
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        order = "C" if array.flags.c_contiguous or not array.flags.f_contiguous else "F"
        return (kind, describe(array.dtype), array.shape, order, content(array))
    if kind in (list, tuple, set, frozenset, dict):
        return (kind, _canon_items(kind, value))
    if isinstance(value, dt.datetime | dt.time):
        zone = value.tzinfo
        return (kind, value.replace(tzinfo=None).isoformat(), value.fold, type(zone), str(zone))
    return (kind, _EXACT.get(kind, lambda v: v)(value))


_EXACT: dict[type, Any] = {
    int: hex,
    float: lambda v: struct.pack("d", v),
    complex: lambda v: struct.pack("dd", v.real, v.imag),
    memoryview: lambda v: (v.format, v.shape, v.tobytes()),
}


def _canon_items(kind: type, value: Any) -> Any:
    if kind is dict:
        return [(canon(key), canon(item)) for key, item in value.items()]
    return [canon(item) for item in value] if kind in (list, tuple) else sorted(_digest(canon(item)) for item in value)


def _digest(form: Any) -> str:
    return hashlib.md5(repr(form).encode("utf-8", "backslashreplace")).hexdigest()


def describe(dtype: np.dtype[Any]) -> Any:
    """All there is to a dtype: equality of dtypes overlooks titles, alignment and metadata."""
    if dtype.subdtype is not None:
        return (describe(dtype.subdtype[0]), dtype.subdtype[1])
    if dtype.names is None:
        return (dtype.type, dtype.str)
    fields = [(name, *dtype.fields[name][1:]) for name in dtype.names]
    return (
        dtype.type,
        dtype.itemsize,
        dtype.isalignedstruct,
        fields,
        [describe(dtype.fields[n][0]) for n in dtype.names],
    )


def content(array: Any) -> Any:
    """The bytes of an array without its padding, which is nobody's."""
    if array.dtype.names is None:
        if array.dtype.type in (np.longdouble, np.clongdouble) and np.finfo(np.longdouble).nmant == 63:
            data = array.astype(array.dtype.newbyteorder("=")).tobytes()  # ten bytes each, and padding
            return np.frombuffer(data, "u1").reshape(-1, np.dtype("g").itemsize)[:, :10].tobytes()
        return array.tobytes()
    return [content(array[name]) for name in array.dtype.names]


def filled(dtype: np.dtype[Any], shape: Any, seed: int = 0) -> Any:
    """An array of bytes that mean anything, NaNs with payloads included; text stays valid."""
    rng = np.random.default_rng(seed)
    count = int(np.prod(shape, dtype=np.int64))
    out: Any = np.ndarray(shape, dtype, bytearray(rng.bytes(count * dtype.itemsize)))
    _make_valid(out, rng)
    return out


def _make_valid(out: Any, rng: Any) -> None:
    dtype = out.dtype
    if dtype.names is not None:
        for name in dtype.names:
            _make_valid(out[name], rng)
    elif dtype.kind == "U" and dtype.itemsize:
        out[...] = "añ€𝄞z"[: dtype.itemsize // 4]
    elif dtype.kind == "b":
        out[...] = rng.integers(0, 2, out.shape)
    elif dtype.kind in "fc" and dtype.char in "gG":
        out[...] = rng.normal(size=out.shape)  # not every bit pattern of 80 bits in 128 is a number


zones = st.one_of(
    st.none(),
    st.just(dt.UTC),
    st.timedeltas(dt.timedelta(hours=-23), dt.timedelta(hours=23)).map(dt.timezone),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kolkata", "UTC"]).map(ZoneInfo),
)
folds = st.integers(0, 1)
moments = st.one_of(
    st.builds(lambda d, fold: d.replace(fold=fold), st.datetimes(timezones=zones), folds),
    st.builds(lambda t, fold: t.replace(fold=fold), st.times(timezones=zones), folds),
    st.dates(),
    st.timedeltas(),
)
text = st.text(st.characters(blacklist_categories=()), max_size=12)  # lone surrogates included
integers = st.one_of(
    st.integers(),
    st.integers(-(1 << 200), 1 << 200),
    st.sampled_from([s * (1 << p) + d for p in (7, 8, 31, 32, 63, 64, 65) for s in (-1, 1) for d in (-1, 0, 1)]),
)
numbers = st.one_of(
    st.booleans(), integers, st.floats(), st.complex_numbers(), st.sampled_from([-0.0, complex(-0.0, -0.0)])
)
scalars = st.builds(lambda d, seed: filled(d, (), seed)[()], st.sampled_from(ALL_DTYPES), st.integers(0, 99))
buffers = st.binary(max_size=40)
views = st.one_of(
    buffers.map(memoryview),
    st.builds(
        lambda d, shape: memoryview(filled(np.dtype(d), shape)), st.sampled_from("bBhHiIlLqQfd?"), hnp.array_shapes()
    ),
)
_hashable_dtypes = [d for d in PLAIN_DTYPES if d.kind in "biufcM"]
hashable_atoms = st.one_of(
    st.none(), numbers, text, buffers, moments, st.sampled_from(_hashable_dtypes).map(lambda d: np.ones((), d)[()])
).filter(lambda v: v == v)
keys = st.recursive(
    hashable_atoms,
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    max_leaves=6,
)


@st.composite
def arrays(draw: Any) -> Any:
    """Arrays of every dtype in every layout: orders, steps, reversals, transpositions, views, read-only."""
    shape = draw(st.one_of(st.just(()), hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=6)))
    array = filled(draw(st.sampled_from(ALL_DTYPES)), shape, draw(st.integers(0, 99)))
    if draw(st.booleans()):
        array = np.asfortranarray(array)
    if shape:
        array = array.transpose(draw(st.permutations(range(len(shape)))))
        steps = draw(st.lists(st.sampled_from([1, 1, 2, -1, -2]), min_size=len(shape), max_size=len(shape)))
        array = array[tuple(slice(None, None, step) for step in steps)]
    array.flags.writeable = draw(st.booleans())
    return array


edge_cases = st.sampled_from([None, "", b"", True, np.str_(""), np.bytes_(b"")])
atoms = st.one_of(edge_cases, numbers, text, buffers, buffers.map(bytearray), views, moments, scalars, arrays())
values = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(keys, inner, max_size=4),
        st.sets(keys, max_size=4),
        st.frozensets(keys, max_size=4),
    ),
    max_leaves=10,
)
