"""Frames are cut out of the bytes in whatever pieces these come, and bounded before anything is allocated."""

from __future__ import annotations

import itertools
import tracemalloc
from random import Random
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharedmodel import wire
from sharedmodel.errors import ProtocolError

payloads = st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=8)
integers = st.integers(-(1 << 63), (1 << 64) - 1)
plain = st.recursive(
    st.none() | st.booleans() | integers | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def no_extension(code: int, data: bytes) -> Any:
    raise AssertionError("no extension was sent")


def taken(framer: wire.Framer, pieces: list[bytes]) -> list[bytes]:
    return [bytes(payload) for piece in pieces for payload in framer.feed(piece)]


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


@given(payloads, st.lists(st.integers(0, 1 << 20), max_size=12))
def test_frames_are_the_same_whole_byte_by_byte_in_pieces_and_with_bytes_to_spare(bodies: Any, cuts: Any) -> None:
    data = b"".join(wire.framed(body) for body in bodies)
    assert taken(wire.Framer(), [data]) == bodies
    assert taken(wire.Framer(), [data[i : i + 1] for i in range(len(data))]) == bodies
    assert taken(wire.Framer(), split(data, cuts)) == bodies
    assert taken(wire.Framer(), [wire.framed(body) for body in bodies]) == bodies
    framer = wire.Framer()
    assert taken(framer, [data + b"\x07\x00"]) == bodies and framer.pending == 2
    assert taken(framer, [b"\x00\x00", b"1234567" + data]) == [b"1234567", *bodies] and not framer.pending


@given(plain, st.integers(0, 18))
def test_a_frame_of_plain_values_reads_back(value: Any, kind: int) -> None:
    (payload,) = wire.Framer().feed(wire.frame([kind, value]))
    assert wire.read(payload, no_extension) == [kind, value]


def test_a_frame_that_is_empty_is_cut_as_such() -> None:
    assert taken(wire.Framer(), [b"\0\0\0\0" + wire.framed(b"x")]) == [b"", b"x"]
    assert taken(wire.Framer(), [b"\0\0\0\0"]) == [b""]


@pytest.mark.parametrize("whole", [True, False])
def test_a_frame_at_the_limit_passes_and_one_above_is_refused_by_its_length_alone(whole: bool) -> None:
    body = bytes(1000)
    framer = wire.Framer(limit=1000)
    assert taken(framer, [wire.framed(body)] if whole else list(split(wire.framed(body), [2, 500]))) == [body]
    with pytest.raises(ProtocolError, match="1001 bytes"):
        framer.feed((1001).to_bytes(4, "little"))


@given(st.binary(min_size=4, max_size=4))
def test_no_length_makes_the_framer_allocate(head: bytes) -> None:
    framer = wire.Framer()
    if int.from_bytes(head, "little") > wire.MAX_FRAME:
        with pytest.raises(ProtocolError):
            framer.feed(head + b"x")
    else:
        framer.feed(head + b"x")
        assert framer.pending <= 5


def test_a_long_frame_in_single_bytes_takes_no_more_memory_than_itself() -> None:
    data = wire.framed(bytes(20_000))
    framer = wire.Framer()
    tracemalloc.start()
    assert taken(framer, [data[i : i + 1] for i in range(len(data))]) == [bytes(20_000)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * len(data)


NOT_FRAMES = [
    b"", b"\xc1", b"\xc0", b"\x01", b"\x90", b"\x80", b"\xa1x", b"\x91\xc0", b"\x91\xa1x", b"\x91\x90", b"\x91\xc3",
    b"\x92\x01", b"\x91\x01\x01", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff\x01", b"\xc6\xff\xff\xff\xff",
    b"\xc9\xff\xff\xff\xff\x01", b"\x91" * 5000, b"\x92\x01\x81\x90\x01", b"\x92\x01\xa2\xff\xff",
    msgpack.packb({"kind": 1}), b"\x91\xcb\x3f\xf0\0\0\0\0\0\0", b"\x80\x04\x95\x05\0\0\0\0\0\0\0K\x01.",
]  # fmt: skip


def test_what_is_not_an_array_headed_by_its_kind_is_refused() -> None:
    for payload in NOT_FRAMES:
        with pytest.raises(ProtocolError):
            wire.read(payload, no_extension)


@given(st.binary(max_size=200))
@settings(max_examples=500)
def test_any_bytes_are_a_message_or_a_protocol_error(payload: bytes) -> None:
    try:
        message = wire.read(payload, lambda code, data: (code, data))
    except ProtocolError:
        return
    assert type(message) is list and type(message[0]) is int


sizes_by_rid = st.dictionaries(st.integers(0, 99), st.integers(1, 3 * wire.PART_SIZE), min_size=1, max_size=4)


@given(sizes_by_rid, st.integers(0, 1 << 32))
@settings(max_examples=25, deadline=None)
def test_payloads_in_parts_come_together_however_they_are_mixed(sizes: dict[int, int], seed: int) -> None:
    random = Random(seed)  # not hypothesis' own: every byte that one gives is an example's entropy
    bodies = {rid: random.randbytes(size) for rid, size in sizes.items()}
    queues = {rid: list(wire.parts(rid, body)) for rid, body in bodies.items()}
    parts, found = wire.Parts(), {}
    while queues:
        rid = random.choice(list(queues))
        data = queues[rid].pop(0)
        assert len(data) <= wire.MAX_FRAME + wire.LENGTH
        whole = parts.add(wire.read(data[wire.LENGTH :], no_extension))
        assert (whole is None) == bool(queues[rid])
        if whole is not None:
            found[rid] = bytes(whole)
            del queues[rid]
    assert found == bodies


def test_parts_are_bounded_in_all_and_what_is_whole_counts_no_more() -> None:
    parts = wire.Parts(limit=100)
    for _ in range(5):
        assert parts.add([wire.PART, 1, True, bytes(100)]) == bytes(100)
    parts.add([wire.PART, 1, False, bytes(60)])
    with pytest.raises(ProtocolError, match="100 bytes"):
        parts.add([wire.PART, 2, False, bytes(41)])


def test_pieces_without_bytes_are_bounded_too() -> None:
    parts = wire.Parts()
    with pytest.raises(ProtocolError):
        for rid in range(100_000):
            parts.add([wire.PART, rid, False, b""])


MALFORMED_PARTS: list[list[Any]] = [
    [wire.PART], [wire.PART, 1, True], [wire.PART, 1, True, b"", 1], [wire.PART, "1", True, b""],
    [wire.PART, True, True, b""], [wire.PART, 1, 1, b""], [wire.PART, 1, True, "text"], [wire.PART, 1, True, None],
    [wire.PART, [1], True, b""], [wire.PART, 1.0, True, b""], [wire.PART, 1, True, bytearray(b"")],
]  # fmt: skip


def test_malformed_parts_are_refused() -> None:
    for message in MALFORMED_PARTS:
        with pytest.raises(ProtocolError):
            wire.Parts().add(message)
