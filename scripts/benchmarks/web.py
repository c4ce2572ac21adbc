"""The FastAPI example under gunicorn with four workers, against the same application with four private copies.

Memory is the proportional share of all processes of either, models and their hosts included. Rates are those of
a closed loop of clients, each request on a connection of its own.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import psutil

from scripts.demonstration.memory import proportional
from sharedmodel.runtime import VARIABLE
from tests.embedding_models import minilm, offline_with_cache
from tests.servers import Server, running_server, until
from tests.web import WORKERS, Web, gunicorn

from .table import Row
from .web_kills import Ends, storm
from .web_load import ENDPOINTS, Load, Rate, measured

ROUNDS: Final = 3
SECONDS: Final = 8.0  # of each measurement
KILLS: Final = 40
START: Final = 200.0  # seconds that four private copies may take to begin

APP: Final = ("--chdir", "fastapi_app", "-c", "fastapi_app/gunicorn.conf.py")
OURS: Final = (*APP, "app:app")
PRIVATE: Final = (*APP, "scripts.benchmarks.private_app:app")
CONFIG: Final = f"""
[models.ocr]
kind = "cnocr"

[models.minilm]
kind = "embedder"
path = "{minilm()}"
"""


class Way(NamedTuple):
    """One of the two: the seconds until all its workers answered, its bytes after load, its rates by endpoint."""

    seconds: float
    memory: float
    rates: dict[str, Rate]


def run() -> list[Row]:
    """The rows of the table."""
    with offline_with_cache():
        load = Load()
        shared = [_shared(load) for _ in range(ROUNDS)]
        private = [_private(load, WORKERS) for _ in range(ROUNDS)]
        one = [_private(load, 1, measure=False) for _ in range(ROUNDS)]
        return [
            *_memory(shared, private),
            *(row for name in ENDPOINTS for row in _rates(name, shared, private)),
            _start(shared, one),
            *_ends(load),
        ]


def _shared(load: Load) -> Way:
    begun = time.monotonic()
    with _served() as server, gunicorn(server.place.directory, *OURS) as web:
        return _way(web, load, begun, lambda: _pids(web.process.pid, server.process.pid))


def _private(load: Load, workers: int, *, measure: bool = True) -> Way:
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sm-") as folder:
        path = os.pathsep.join(filter(None, (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", ""))))
        with gunicorn(folder, *PRIVATE, "-w", str(workers), "-t", "300", PYTHONPATH=path) as web:
            return _way(web, load, begun, lambda: _pids(web.process.pid), workers=workers, measure=measure)


def _way(
    web: Web, load: Load, begun: float, pids: Callable[[], list[int]], workers: int = WORKERS, measure: bool = True
) -> Way:
    _all_answer(web, workers)
    seconds = time.monotonic() - begun
    rates = {name: measured(load, web, name, SECONDS) for name in ENDPOINTS} if measure else {}
    return Way(seconds, float(proportional(pids())), rates)


def _all_answer(web: Web, workers: int) -> None:
    """Wait until so many different workers have told that their models are ready."""
    seen: set[int] = set()

    def all_seen() -> bool:
        told = web.get("/health").body
        if all(model["state"] == "ready" for model in told["models"].values()):
            seen.add(told["worker"])
        return len(seen) == workers

    until(all_seen, lambda: f"only {len(seen)} workers answer; log:\n{web.log}", START)


def _pids(*roots: int) -> list[int]:
    processes = [psutil.Process(pid) for pid in roots]
    return [each.pid for root in processes for each in (root, *root.children(recursive=True))]


@contextmanager
def _served() -> Iterator[Server]:
    """A model server that begins when its socket is there, as its clients may."""
    with tempfile.TemporaryDirectory(prefix="sm-", dir="/tmp") as folder:
        before = os.environ.get(VARIABLE)
        os.environ[VARIABLE] = folder
        try:
            with running_server(CONFIG, folder, ready=False) as server:
                yield server
        finally:
            os.environ.pop(VARIABLE)
            if before is not None:
                os.environ[VARIABLE] = before


def _median(ways: list[Way], of: Callable[[Way], float]) -> float:
    return statistics.median(of(way) for way in ways)


def _memory(shared: list[Way], private: list[Way]) -> list[Row]:
    ours, theirs = (_median(ways, lambda way: way.memory) for ways in (shared, private))
    text = f"{ours / 1e6:,.0f} MB against {theirs / 1e6:,.0f} MB, {ours / theirs:.2f} of it"
    return [Row(f"memory of {WORKERS} workers", "at most 1/3", text, ours <= theirs / 3)]


def _rates(name: str, shared: list[Way], private: list[Way]) -> list[Row]:
    rps, theirs_rps = (_median(ways, lambda way: way.rates[name].rps) for ways in (shared, private))
    p50, theirs_p50 = (_median(ways, lambda way: way.rates[name].p50) for ways in (shared, private))
    p99, theirs_p99 = (_median(ways, lambda way: way.rates[name].p99) for ways in (shared, private))
    text = f"{rps:,.1f} requests/s against {theirs_rps:,.1f}, ratio {rps / theirs_rps:.2f}"
    times = (
        f"p50 {p50 * 1e3:,.0f} ms against {theirs_p50 * 1e3:,.0f}, p99 {p99 * 1e3:,.0f} against {theirs_p99 * 1e3:,.0f}"
    )
    return [
        Row(f"{name}, private copies of one thread each", "at least as many", text, rps >= theirs_rps),
        Row(f"{name}, times of answers", "p99 lower", times, p99 < theirs_p99),
    ]


def _start(shared: list[Way], one: list[Way]) -> Row:
    ours, theirs = (_median(ways, lambda way: way.seconds) for ways in (shared, one))
    text = f"{ours:.1f} s, one private copy {theirs:.1f} s, ratio {ours / theirs:.2f}"
    return Row(f"until all {WORKERS} have answered", "at most 1.3x", text, ours <= 1.3 * theirs)


def _ends(load: Load) -> list[Row]:
    """What became of requests while hosts and workers were killed, and of the memory."""
    with _served() as server, gunicorn(server.place.directory, *OURS) as web:
        _all_answer(web, WORKERS)
        for name in ENDPOINTS:  # arenas and buffers grow to their size
            measured(load, web, name, 1.0)
        before = proportional(_pids(web.process.pid, server.process.pid))
        ends: Ends = storm(load, web, server, KILLS)
        _all_answer(web, WORKERS)
        for name in ENDPOINTS:
            measured(load, web, name, 1.0)
        grown = proportional(_pids(web.process.pid, server.process.pid)) / before
    told = ", ".join(f"{count} {what}" for what, count in sorted(ends.counts.items()))
    kills = ", ".join(f"{count} {what}" for what, count in sorted(ends.kills.items()))
    flat = f"{grown:.2f} of what it was"
    return [
        Row(f"requests while {kills} were killed", "right, or 503, or 504", told, not ends.wrong),
        Row("anything else", "nothing", "; ".join(ends.wrong[:3]) or "nothing", not ends.wrong),
        Row("memory after the kills", "at most 1.1 of it", flat, grown <= 1.1),
    ]
