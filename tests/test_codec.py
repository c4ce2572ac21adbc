"""Every value that may cross arrives as it was, its types included, by either way."""

from __future__ import annotations

import datetime as dt
import math
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sharedmodel import wire
from sharedmodel.decoder import Decoder
from sharedmodel.encoder import INLINE_MAX, Encoder
from sharedmodel.errors import CannotCross
from sharedmodel.marks import LARGE_BYTES, outermost
from sharedmodel.tensor import header_of, read_header

from .codec_ends import Nowhere, SharedMemory, crossed
from .values import ALL_DTYPES, arrays, canon, describe, filled, moments, scalars, values

relaxed = settings(deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture
def memory() -> Any:
    memory = SharedMemory()
    yield memory
    memory.close()


@given(values)
@settings(relaxed, max_examples=400)
def test_a_value_crosses_in_the_frame_unchanged(value: Any) -> None:
    assert canon(crossed(value)) == canon(value)


@given(values)
@settings(relaxed, max_examples=150)
def test_a_value_crosses_through_shared_memory_unchanged(memory: Any, value: Any) -> None:
    assert canon(crossed(value, memory)) == canon(value)
    assert memory.owner.live_bytes == 0


@given(arrays(), st.booleans(), st.booleans())
@settings(relaxed, max_examples=250)
def test_an_array_of_any_layout_crosses_either_way_and_is_read_only_for_the_host(
    memory: Any, array: Any, shared: bool, writable: bool
) -> None:
    arrived = crossed(array, memory if shared else None, writable=writable)
    assert canon(arrived) == canon(array)
    if array.nbytes and not shared:
        assert arrived.flags.writeable is writable


@given(scalars)
@settings(relaxed, max_examples=200)
def test_a_numpy_scalar_stays_one(scalar: Any) -> None:
    assert canon(crossed(scalar)) == canon(scalar)


@given(moments)
@settings(relaxed, max_examples=200)
def test_a_moment_keeps_its_zone_and_its_fold(moment: Any) -> None:
    assert canon(crossed(moment)) == canon(moment)


def test_a_large_array_of_each_dtype_crosses_through_shared_memory(memory: Any) -> None:
    for dtype in ALL_DTYPES:
        for order in "CF":
            array = np.asarray(filled(dtype, (40, 70)), order=order)
            arrived = crossed(array, memory)
            assert canon(arrived) == canon(array), dtype
            assert describe(arrived.dtype) == describe(array.dtype)


def test_non_contiguous_arrays_cross_at_every_size(memory: Any) -> None:
    steps = slice(None), slice(None, None, 3), slice(None, None, -1), slice(5, -5)
    for size in (INLINE_MAX - 1, INLINE_MAX, INLINE_MAX + 1, 300_000):
        for step in steps:
            array = np.arange(size, dtype="u1")[step]
            assert canon(crossed(array, memory)) == canon(array), (size, step)


def test_broadcast_read_only_and_mapped_arrays_cross(memory: Any, tmp_path: Path) -> None:
    np.arange(9000.0).tofile(tmp_path / "data")
    mapped = np.memmap(tmp_path / "data", "f8", "r", shape=(90, 100))
    assert canon(crossed(mapped, memory)) == canon(np.array(mapped))
    del mapped
    wide = np.broadcast_to(np.arange(5.0), (1000, 5))
    assert canon(crossed(wide, memory)) == canon(np.ascontiguousarray(wide))
    del wide


def test_long_bytes_cross_through_shared_memory(memory: Any) -> None:
    for make in (bytes, bytearray):
        for size in (0, 1, LARGE_BYTES, LARGE_BYTES + 1, 1_000_000):
            value = make(np.random.default_rng(1).bytes(size))
            encoder = Encoder(memory)
            encoder.pack([2, outermost(value)])
            assert len(encoder.refs) == (size > LARGE_BYTES)
            memory.undo(encoder.refs)
            assert canon(crossed(value, memory)) == canon(value) == canon(crossed(value))
            assert canon(crossed([value, {1: value}], memory)) == canon([value, {1: value}])


def test_an_int_has_no_largest() -> None:
    for value in (10**5000, -(10**5000), (1 << 4096) - 1):
        assert crossed([value]) == [value]


def test_special_values_keep_their_bits() -> None:
    inner = float("nan"), math.inf, -math.inf, -0.0, 5e-324, complex(math.nan, -0.0)
    for value in inner:
        assert canon(crossed(value)) == canon(value)
    payload = np.array([0x7FF8_0000_0000_BEEF, 0xFFF0_0000_0000_0001], "u8").view("f8")
    assert canon(crossed(payload)) == canon(payload)
    assert canon(crossed([payload[0], payload[1]])) == canon([payload[0], payload[1]])


def test_a_moment_in_the_repeated_hour_keeps_its_side() -> None:
    late = dt.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin"))
    arrived = crossed(late)
    assert arrived.utcoffset() == dt.timedelta(hours=1) and arrived.tzinfo is ZoneInfo("Europe/Berlin")


def test_a_named_offset_keeps_its_name() -> None:
    zone = dt.timezone(dt.timedelta(hours=-5), "Lima")
    assert crossed(dt.datetime(2024, 1, 1, tzinfo=zone)).tzname() == "Lima"
    assert crossed(dt.time(1, tzinfo=zone)).tzname() == "Lima"


@pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: (v,), lambda v: {"k": v}, lambda v: frozenset([v])])
def test_values_nest_to_the_stated_depth(wrap: Any) -> None:
    value: Any = 1
    for _ in range(wire.MAX_DEPTH):
        value = wrap(value)
    assert canon(crossed(value)) == canon(value)


def test_lone_surrogates_beside_arrays_leave_no_block_in_use(memory: Any) -> None:
    array = np.arange(5000)
    assert canon(crossed([array, "\ud800", array], memory)) == canon([array, "\ud800", array])
    assert memory.owner.live_bytes == 0


@pytest.mark.parametrize(
    "view",
    [
        memoryview(np.zeros(0)), memoryview(b"").cast("b"),
        memoryview(np.float64(3)), memoryview(np.arange(6.0).reshape(2, 3).T), memoryview(b"abcdef")[::-2],
    ],
)  # fmt: skip
def test_a_memoryview_of_any_shape_crosses(view: memoryview) -> None:
    assert canon(crossed(view)) == canon(view)


def test_an_encoder_that_failed_goes_on_as_new() -> None:
    encoder, decoder = Encoder(None), Decoder(Nowhere(), writable=True)
    for bad in (object(), [1, (2, [object()])], {"x": {3: (object(),)}}):
        with pytest.raises(CannotCross):
            encoder.pack([1, bad])
        assert decoder.unpack(encoder.pack([1, ("a", [b"b"])])) == [1, ("a", [b"b"])]


def test_a_dtype_of_records_and_its_plain_twin_which_are_equal_stay_what_they_are() -> None:
    plain = np.dtype([("a", "i4")])
    records = np.dtype((np.record, plain))
    for shape, order in (((3,), (records, plain)), ((4,), (plain, records))):
        assert [read_header(header_of(dtype, shape, "C"))[0].dtype.type for dtype in order] == [
            dtype.type for dtype in order
        ]
