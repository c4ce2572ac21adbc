"""An ONNX session through the host against the same session in process: a model of about 10 ms."""

from __future__ import annotations

import multiprocessing as mp
import os
import statistics
import tempfile
import time
from typing import Any

import numpy as np

from sharedmodel import manager
from tests.onnx_graphs import mlp

from .table import Row

PAIRS = 400
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
        slower = _pairs(here, there, feed)
        alone = statistics.median(_time(here, feed) for _ in range(20))
    middle = statistics.median(slower)
    low, high = _interval(slower)
    text = f"{middle:+.2%} (95 % interval of the median {low:+.2%} to {high:+.2%}, {PAIRS} pairs)"
    return [Row(f"ONNX through the host, {alone * 1e3:.0f} ms in process", "at most 3 % slower", text, middle <= 0.03)]


def _pairs(here: Any, there: Any, feed: dict[str, Any]) -> list[float]:
    for _ in range(20):
        here.run(None, feed), there.run(None, feed)
    slower = []
    for index in range(PAIRS):
        first, second = (here, there) if index % 2 else (there, here)
        times = {id(first): _time(first, feed), id(second): _time(second, feed)}
        slower.append(times[id(there)] / times[id(here)] - 1)
    return slower


def _time(model: Any, feed: dict[str, Any]) -> float:
    start = time.perf_counter()
    model.run(None, feed)
    return time.perf_counter() - start


def _interval(values: list[float]) -> tuple[float, float]:
    """The median's 95 % interval by the bootstrap (Efron 1979), 2,000 resamples, fixed seed."""
    random = np.random.default_rng(0)
    medians = np.median(random.choice(values, (2000, len(values))), axis=1)
    return float(np.quantile(medians, 0.025)), float(np.quantile(medians, 0.975))
