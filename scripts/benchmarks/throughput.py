"""Requests a second of two models, closed loop, by one process and by eight, each request a row.

Private sessions are what users have today: one in each process, with onnxruntime's default threads or
tuned to one. Ours is one server for all.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from tests.onnx_graphs import cnn, mlp
from tests.servers import running_server

from .table import Row

MANY: Final = 8
ROUNDS: Final = 3
SECONDS: Final = 4.0
CNN_TAKES: Final = 19e-3  # seconds a row on one processor of this machine, whichever that is: so the bars have it
PICTURE: Final = (1, 3, 224, 224)

# Rows of a CNN gain nothing from running together: what lies between its layers outgrows the caches.
CNN: Final = """
[models.cnn]
kind = "onnx"
path = "cnn.onnx"
narrow = true
"""
MLP: Final = """
[models.mlp]
kind = "onnx"
path = "mlp.onnx"
max_batch = 32
"""


class Rate(NamedTuple):
    """Requests a second, and the 99th percentile of their times in seconds."""

    rps: float
    p99: float


def run() -> list[Row]:
    """The rows of the table."""
    with tempfile.TemporaryDirectory(prefix="sm-") as folder:
        sized, took = _cnn_taking(CNN_TAKES)
        for name, data in {"cnn": sized, "mlp": mlp(width=1536, layers=3)}.items():
            with open(os.path.join(folder, f"{name}.onnx"), "wb") as file:
                file.write(data)
        with running_server(CNN, folder) as server:
            rows = _cnn(folder, server.address, f"CNN of {took * 1e3:.0f} ms")
        with running_server(MLP, folder) as server:
            return rows + _mlp(folder, server.address)


def _cnn_taking(seconds: float) -> tuple[bytes, float]:
    """A CNN with as many layers as it takes to be within a twentieth of that, or above; and its own seconds."""
    feed = np.zeros(PICTURE, np.float32)
    layers, data, took = 1, b"", 0.0
    while took < seconds * 0.95:
        layers += 1
        data = cnn(layers=layers)
        call = _Private(data, 1)()
        times = []
        for _ in range(15):
            start = time.perf_counter()
            call(feed)
            times.append(time.perf_counter() - start)
        took = statistics.median(times)
    return data, took


def _cnn(folder: str, address: str, what: str) -> list[Row]:
    feed = np.random.default_rng(0).standard_normal(PICTURE, dtype=np.float32)
    many = _rates(folder, address, "cnn", feed, MANY)
    one = _rates(folder, address, "cnn", feed, 1)
    return [
        _row(f"{what}, 8 clients, private sessions, default threads", many, "default", 1.7),
        _row(f"{what}, 8 clients, private sessions, one thread each", many, "tuned", 0.97),
        _p99(f"{what}, 8 clients", many),
        _row(f"{what}, 1 client, a private session, default threads", one, "default", 0.97),
    ]


def _mlp(folder: str, address: str) -> list[Row]:
    feed = np.random.default_rng(0).standard_normal((1, 64), dtype=np.float32)
    many = _rates(folder, address, "mlp", feed, MANY)
    return [
        _row("MLP, 8 clients, private sessions, default threads", many, "default", 3.0),
        _row("MLP, 8 clients, private sessions, one thread each", many, "tuned", 2.0),
        _p99("MLP, 8 clients", many),
    ]


def _rates(folder: str, address: str, name: str, feed: Any, clients: int) -> dict[str, Rate]:
    path = os.path.join(folder, f"{name}.onnx")
    ways: dict[str, Callable[[], Any]] = {
        "ours": _Served(address, name),
        "default": _Private(path, 0),
        "tuned": _Private(path, 1),
    }
    found: dict[str, list[Rate]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way, opens in ways.items():
            found[way].append(_rate(opens, feed, clients))
    return {
        way: Rate(statistics.median(rate.rps for rate in rates), statistics.median(rate.p99 for rate in rates))
        for way, rates in found.items()
    }


def _row(what: str, rates: dict[str, Rate], other: str, bar: float) -> Row:
    ours, theirs = rates["ours"], rates[other]
    ratio = ours.rps / theirs.rps
    text = f"{ours.rps:,.0f} requests/s against {theirs.rps:,.0f}, ratio {ratio:.2f}"
    return Row(what, f"at least {bar:g}x", text, ratio >= bar)


def _p99(what: str, rates: dict[str, Rate]) -> Row:
    ours, least = rates["ours"].p99, min(rates["default"].p99, rates["tuned"].p99)
    text = ", ".join(f"{way} {rate.p99 * 1e3:.1f} ms" for way, rate in rates.items())
    return Row(f"{what}, 99th percentile", "lower than both", text, ours < least)


@dataclass(frozen=True)
class _Private:
    """Opens a session of one's own, of a file or of bytes. ``threads`` 0: onnxruntime's default."""

    model: str | bytes
    threads: int

    def __call__(self) -> Callable[[Any], Any]:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        session = onnxruntime.InferenceSession(self.model, options, providers=["CPUExecutionProvider"])
        return lambda x: session.run(None, {"x": x})


@dataclass(frozen=True)
class _Served:
    """Opens the server's."""

    address: str
    name: str

    def __call__(self) -> Callable[[Any], Any]:
        from sharedmodel.client import connect

        model = connect(self.address).model(self.name)
        return lambda x: model.run(None, {"x": x})


def _rate(opens: Callable[[], Any], feed: Any, clients: int) -> Rate:
    context = mp.get_context("spawn")
    ready, go, results, over = context.Semaphore(0), context.Event(), context.SimpleQueue(), context.Event()
    with _running(context, [(opens, feed, ready, go, results, over)] * clients) as processes:
        for _ in processes:
            ready.acquire()
        go.set()
        times = [results.get() for _ in processes]
        over.set()
    rps = sum(len(own) / own.sum() for own in times)
    return Rate(float(rps), float(np.quantile(np.concatenate(times), 0.99)))


@contextmanager
def _running(context: Any, arguments: list[Any]) -> Iterator[list[Any]]:
    processes = [context.Process(target=_client, args=args) for args in arguments]
    for process in processes:
        process.start()
    yield processes
    for process in processes:
        process.join()


def _client(opens: Callable[[], Any], feed: Any, ready: Any, go: Any, results: Any, over: Any) -> None:
    call = opens()
    for _ in range(5):
        call(feed)
    ready.release()
    go.wait()
    times = []
    end = time.perf_counter() + SECONDS
    now = time.perf_counter()
    while now < end:
        call(feed)
        times.append(-now + (now := time.perf_counter()))
    results.put(np.array(times))
    over.wait()  # an interpreter that ends takes a processor from those that are still being measured
