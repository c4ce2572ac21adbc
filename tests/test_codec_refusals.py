"""What does not cross is refused at the caller, with the path to it and what may cross instead."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import enum
import struct
import time
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest

from sharedmodel import wire
from sharedmodel.channel import Channel
from sharedmodel.errors import CannotCross
from sharedmodel.pending import Pending


class Colour(enum.IntEnum):
    RED = 1


class Flavour(enum.StrEnum):
    SWEET = "sweet"


class Point(NamedTuple):
    x: int
    y: int


class Zone(dt.tzinfo):
    key = "Europe/Berlin"

    def utcoffset(self, moment: Any) -> dt.timedelta:
        return dt.timedelta(hours=1)


@dataclasses.dataclass
class Plain:
    name: str = "n"


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no text for this")


def derived(base: type, *args: Any) -> Any:
    return type(f"My{base.__name__}", (base,), {})(*args)


def nested(depth: int, wrap: Any, value: Any = 1) -> Any:
    for _ in range(depth):
        value = wrap(value)
    return value


CYCLE: list[Any] = [1]
CYCLE.append({"again": [CYCLE]})
TWICE: list[Any] = []
TWICE.extend([TWICE, (TWICE,)])
OBJECTS = np.array([1, None], dtype=object)
FIELDS = np.zeros(2, [("id", "i4"), ("names", "O"), ("more", "O")])
INNER = np.zeros(2, [("id", "i4"), ("inner", [("deep", "O")])])

# What is passed as argument x, and the path that the error must name.
REFUSED: list[tuple[str, Any, str]] = [
    ("an object", object(), "argument 'x': object does not cross"),
    ("in a list", [1, 2, 3, object()], "argument 'x'[3]: object"),
    ("in a tuple", (1, (2, object())), "argument 'x'[1][1]: object"),
    ("a dict's value", {"a": {"b": [object()]}}, "argument 'x'['a']['b'][0]: object"),
    ("a dict's key", {"a": 1, Plain: 2}, "argument 'x', key <class"),
    ("within a dict's key", {(1, Colour.RED): 2}, "argument 'x', key (1, <Colour.RED: 1>)[1]"),
    ("in a set", {1, Colour.RED.__class__}, "argument 'x'{"),
    ("in a frozenset", [frozenset([Plain])], "argument 'x'[0]{"),
    ("without a repr", {"k": Unprintable()}, "argument 'x'['k']: tests.test_codec_refusals.Unprintable"),
    ("keyed by one without a repr", {Unprintable(): 1}, "argument 'x', key"),
    ("beside a key that is too long to print", {10**5000: object()}, "argument 'x'["),
    ("a dataclass", Plain(), "argument 'x': tests.test_codec_refusals.Plain does not cross"),
    ("a function", len, "argument 'x': builtin_function_or_method"),
    ("a generator", (n for n in [1]), "argument 'x': generator"),
    ("an exception", ValueError("v"), "argument 'x': ValueError"),
    ("a range", range(3), "argument 'x': range"),
    ("a module", struct, "argument 'x': module"),
    ("an IntEnum", Colour.RED, "argument 'x': tests.test_codec_refusals.Colour"),
    ("a StrEnum", [Flavour.SWEET], "argument 'x'[0]: tests.test_codec_refusals.Flavour"),
    ("a named tuple", Point(1, 2), "argument 'x': tests.test_codec_refusals.Point"),
    ("an OrderedDict", collections.OrderedDict(a=1), "argument 'x': collections.OrderedDict"),
    ("a Counter in a list", [collections.Counter("aab")], "argument 'x'[0]: collections.Counter"),
    ("a deque", collections.deque([1]), "argument 'x': collections.deque"),
    *(
        (f"a subclass of {base.__name__}", derived(base, *args), f"argument 'x': {__name__}.My{base.__name__}")
        for base, args in [
            (int, (1,)), (float, (1.0,)), (complex, (1,)), (str, ("s",)), (bytes, (b"b",)), (bytearray, (b"b",)),
            (list, ([1],)), (tuple, ([1],)), (dict, ({},)), (set, ([1],)), (frozenset, ([1],)), (np.float64, (1.0,)),
            (dt.datetime, (2024, 1, 1)), (dt.timedelta, (1,)),
        ]
    ),
    ("a zone of one's own", dt.datetime(2024, 1, 1, tzinfo=Zone()), "argument 'x': datetime.datetime with a tzinfo"),
    ("an array of objects", OBJECTS, "argument 'x': an array of dtype object"),
    ("an array of objects in a dict", {"a": [OBJECTS]}, "argument 'x'['a'][0]: an array of dtype object"),
    ("a field of objects", FIELDS, "argument 'x'.names: "),
    ("a field of objects within a field", INNER, "argument 'x'.inner.deep: "),
    ("a scalar with a field of objects", FIELDS[0], "argument 'x'.names: "),
    ("strings of any length", np.array(["a"], np.dtypes.StringDType()), "argument 'x': an array of dtype StringDType"),
    ("ml_dtypes of less than a byte", np.zeros(2, ml_dtypes.int4), "argument 'x': an array of dtype int4"),
    ("such in a field", np.zeros(2, [("f", ml_dtypes.int4)]), "argument 'x'"),
    ("a masked array", np.ma.masked_array([1], [True]), "argument 'x': numpy.ma.MaskedArray"),
    ("the masked constant", np.ma.masked, "argument 'x': numpy.ma.core.MaskedConstant"),
    ("a record array", np.rec.array([(1,)], dtype=[("a", "i4")]), "argument 'x': numpy.rec"),
    ("a matrix", np.zeros((2, 2)).view(type("Mine", (np.ndarray,), {})), "argument 'x': " + __name__),
    ("a dtype", np.dtype("f4"), "argument 'x': numpy.dtype"),
    ("a memoryview of structures", memoryview(np.zeros(2, "i4,f4")), "argument 'x': a memoryview of format"),
    ("a memoryview of foreign order", memoryview(np.zeros(2, ">i4")), "argument 'x': a memoryview of format"),
    ("an empty memoryview of many axes", [memoryview(np.zeros((0, 2)))], "argument 'x'[0]: a memoryview of shape"),
    ("a cycle", CYCLE, "nested deeper than"),
    ("a cycle of two ways", TWICE, "nested deeper than"),
    ("lists too deep", nested(2000, lambda v: [v]), "nested deeper than"),
    ("tuples too deep", nested(wire.MAX_DEPTH + 2, lambda v: (v,)), "nested deeper than"),
    ("dicts too deep", nested(2000, lambda v: {0: v}), "nested deeper than"),
    ("bytearrays too deep", nested(100, lambda v: [v], bytearray(b"b")), "nested deeper than"),
]  # fmt: skip


@pytest.fixture
def channel() -> Channel:
    return Channel(lambda nbytes: None, lambda value: None, lambda fields: None)


def refusal(channel: Channel, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(TypeError) as caught:
        channel.begin(Pending("method"), "model", args, kwargs, None)
    assert type(caught.value) is CannotCross
    return str(caught.value)


def test_what_does_not_cross_is_named_by_its_path(channel: Channel) -> None:
    for what, value, path in REFUSED:
        text = refusal(channel, x=value)
        assert text.startswith(path) or (path == "nested deeper than" and path in text), what
        assert "What may cross: None, bool, int" in text
        assert len(text) < 1000
        assert not channel.pending and not channel.requests.live_bytes


def test_a_positional_argument_is_named_by_its_place(channel: Channel) -> None:
    assert refusal(channel, 1, [object()]).startswith("argument 1[0]: object")
    assert refusal(channel, 1, ok=2, bad=object()).startswith("argument 'bad': object")


def test_the_culprit_at_the_end_of_much_is_found_soon(channel: Channel) -> None:
    start = time.thread_time()  # what others of the machine take meanwhile is not its affair
    assert refusal(channel, x=[[list(range(1000)) for _ in range(300)], object()]).startswith("argument 'x'[1]")
    assert time.thread_time() - start < 5


def test_the_channel_goes_on_after_a_refusal(channel: Channel) -> None:
    refusal(channel, x=(1, {2: object()}))
    assert channel.begin(Pending("method"), "model", ((1, {2: "fine"}),), {}, None)
    assert len(channel.pending) == 1
