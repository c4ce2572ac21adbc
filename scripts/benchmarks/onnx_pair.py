"""An ONNX session through the host against the same session in process: a model of about 10 ms."""

from __future__ import annotations

import multiprocessing as mp
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from sharedmodel import manager
from tests.onnx_graphs import mlp

from . import bare
from .table import Row

PAIRS = 400
Call = Callable[[], Any]
BATCH = 96  # which takes about 10 ms on one core


class _Onnx(manager.ModelManager):
    """Serves one session."""


def _open(path: str) -> Any:
    from sharedmodel.server.models.onnx import OnnxModel

    return OnnxModel(path, threads=1)


_Onnx.register("Model", _open)


def run() -> list[Row]:
    """The row of the table."""
    host: Any
    with tempfile.TemporaryDirectory() as folder, _Onnx(ctx=mp.get_context("spawn")) as host:
        path = os.path.join(folder, "mlp.onnx")
        with open(path, "wb") as file:
            file.write(mlp())
        feed = {"x": np.random.default_rng(0).standard_normal((BATCH, 64), dtype=np.float32)}
        here, there = _open(path), host.Model(path)
        assert all((a == b).all() for a, b in zip(here.run(None, feed), there.run(None, feed), strict=True))
        with bare.session(partial(_open, path), feed["x"]) as call:
            slower, floor = _slower(partial(here.run, None, feed), partial(there.run, None, feed), call)
        alone = statistics.median(_time(partial(here.run, None, feed)) for _ in range(20))
    middle, low, high = statistics.median(slower), *_interval(slower)
    text = (
        f"{middle:+.2%} (95 % interval of the median {low:+.2%} to {high:+.2%}, {PAIRS} pairs); the session in another "
        f"process, with a socket and a mapping and nothing else between: {statistics.median(floor):+.2%}"
    )
    return [Row(f"ONNX through the host, {alone * 1e3:.0f} ms in process", "at most 3 % slower", text, middle <= 0.03)]


def _slower(here: Call, *others: Call) -> list[list[float]]:
    """By what part of its time each of the others is slower than ``here``, round by round, in changing order."""
    calls = [here, *others]
    for _ in range(20):
        for call in calls:
            call()
    rounds = []
    for index in range(PAIRS):
        first = index % len(calls)
        taken = {at: _time(calls[at]) for at in (*range(first, len(calls)), *range(first))}
        rounds.append([taken[at] / taken[0] - 1 for at in range(1, len(calls))])
    return [list(found) for found in zip(*rounds, strict=True)]


def _time(call: Call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _interval(values: list[float]) -> tuple[float, float]:
    """The median's 95 % interval by the bootstrap (Efron 1979), 2,000 resamples, fixed seed."""
    random = np.random.default_rng(0)
    medians = np.median(random.choice(values, (2000, len(values))), axis=1)
    return float(np.quantile(medians, 0.025)), float(np.quantile(medians, 0.975))
