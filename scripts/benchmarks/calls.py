"""One client: a call that does nothing, and calls with tensors from 600 KB to 1 GB."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from sharedmodel.sessions import SESSIONS

from .clock import in_turn, micro, ratio
from .served import Ours, Theirs, array
from .table import Row

SIZES = {"600 KB": 600_000, "16 MB": 16 << 20, "64 MB": 64 << 20, "1 GB": 1 << 30}
COUNTS = {"600 KB": 300, "16 MB": 40, "64 MB": 16, "1 GB": 3}
ROUNDS = 9


def run() -> list[Row]:
    """The rows of the table."""
    ours: Any
    theirs: Any
    with Ours() as ours, Theirs() as theirs:
        session = SESSIONS.current(str(ours.address))
        mine, other = ours.Subject(), theirs.Subject()
        rows = _noop(mine, other)
        for size, nbytes in SIZES.items():
            rows += _tensors(size, nbytes, mine, other, session)
        return rows


def _noop(mine: Any, other: Any) -> list[Row]:
    calls = {"ours": mine.noop, "theirs": other.noop}
    taken = in_turn(calls, rounds=25, count=dict.fromkeys(calls, 1000))
    against = ratio(taken["ours"], taken["theirs"])
    text = f"{micro(taken['ours'])} µs against {micro(taken['theirs'])} µs, ratio {against}"
    return [Row("no-op, one client, p50", "at most 1x BaseManager's", text, against.median <= 1)]


def _tensors(size: str, nbytes: int, mine: Any, other: Any, session: Any) -> list[Row]:
    start = time.perf_counter()
    inside = session.empty((nbytes,), "u1")
    mine.swap(inside)
    cold = time.perf_counter() - start
    outside = array(nbytes)
    target = array(nbytes)
    calls: dict[str, Callable[[], Any]] = {
        "noop": mine.noop,
        "in place": partial(mine.swap, inside),
        "memcpy": lambda: target.__setitem__(slice(None), outside),
        "one copy": partial(mine.swap, outside),
        "echo": partial(mine.echo, outside),
    }
    count = dict.fromkeys(calls, COUNTS[size]) | {"noop": 300, "in place": 300}
    if nbytes <= 64 << 20:
        calls["theirs"] = partial(other.echo, outside)
        count["theirs"] = max(2, COUNTS[size] // 8)
    taken = in_turn(calls, rounds=ROUNDS, count=count)
    return _rows(size, nbytes, taken, cold)


def _rows(size: str, nbytes: int, taken: dict[str, list[float]], cold: float) -> list[Row]:
    flat = ratio(taken["in place"], taken["noop"])
    copied = [a - b for a, b in zip(taken["one copy"], taken["in place"], strict=True)]
    over = ratio(copied, taken["memcpy"])
    rows = [
        Row(
            f"{size} each way, in place",
            "at most 2x the no-op",
            f"{micro(taken['in place'])} µs, {flat} no-ops; the first, cold: {cold * 1e3:.1f} ms",
            flat.median <= 2,
        ),
        Row(
            f"{size}, ordinary array in",
            "that plus one memcpy",
            f"{micro(taken['one copy'])} µs, of which the copy {over} memcpys ({micro(taken['memcpy'])} µs)",
            over.median <= 1.25,
        ),
    ]
    if "theirs" in taken:
        rows += _against(size, nbytes, taken)
    return rows


def _against(size: str, nbytes: int, taken: dict[str, list[float]]) -> list[Row]:
    place = ratio(taken["theirs"], taken["in place"])
    copy = ratio(taken["theirs"], taken["one copy"])
    both = statistics.median(taken["echo"])
    bars = (500.0, 30.0) if nbytes == 16 << 20 else (0.0, 0.0)
    peers = {"600 KB": 0.18e-3, "16 MB": 4.6e-3}
    rows = [
        Row(f"{size} against BaseManager, in place", _bar(bars[0]), f"{place}x", place.median >= bars[0]),
        Row(f"{size} against BaseManager, one copy", _bar(bars[1]), f"{copy}x", copy.median >= bars[1]),
    ]
    if size in peers:
        text = f"{both * 1e3:.3f} ms; bare socket and two copies {peers[size] * 1e3} ms on another, busy machine"
        rows.append(Row(f"{size} ordinary, echoed (two copies)", "ahead of all peers", text, both < peers[size]))
    return rows


def _bar(times: float) -> str:
    return f"at least {times:.0f}x faster" if times else "—"
