"""A light model's calls while its server's other models are busy with work that is mostly Python.

The light model is an MLP of a third of a millisecond, called by one client without a pause. Beside it another process
reads pages, estimates poses, embeds or translates, as fast as it can. What that costs the light model is held
against what it costs it that as many processes spin as there are processors: that much is lost in any case.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

import scripts.tiny_pose
from scripts.pages import make, write
from scripts.tiny_models import marian
from sharedmodel.client import connect
from tests.embedding_models import minilm, offline_with_cache
from tests.onnx_graphs import mlp
from tests.servers import running_server

from .table import Row

SECONDS: Final = 6.0
MOST: Final = 1.5
SENTENCE: Final = "the teacher sees two red birds in the garden ."

CONFIG: Final = """
[models.light]
kind = "onnx"
path = "{folder}/light.onnx"

[models.ocr]
kind = "cnocr"

[models.pose]
kind = "sapiens"
path = "{folder}/pose.pt2"

[models.embedder]
kind = "embedder"
path = "{minilm}"

[models.translator]
kind = "translator"
path = "{marian}"
"""


class Times(NamedTuple):
    """Of the light model's calls, in seconds."""

    p50: float
    p99: float

    def __str__(self) -> str:
        return f"p50 {self.p50 * 1e3:.2f} ms, p99 {self.p99 * 1e3:.1f} ms"


def run() -> list[Row]:
    """The rows of the table."""
    with offline_with_cache(), tempfile.TemporaryDirectory(prefix="sm-") as folder:
        Path(folder, "light.onnx").write_bytes(mlp(width=1536, layers=3))
        scripts.tiny_pose.make(Path(folder, "pose.pt2"))
        write(make(1, lines=4), Path(folder))
        config = CONFIG.format(folder=folder, minilm=minilm(), marian=marian.folder())
        with running_server(config, folder) as server:
            alone = _times(server.address, folder, [])
            spun = _times(server.address, folder, [_spin] * (os.cpu_count() or 1))
            rows = [Row("a light model, alone and beside spinning processes", "", f"{alone}; {spun}", True)]
            for name, load in LOADS.items():
                found = _times(server.address, folder, [load])
                text = f"{found}; ratio of p99 {found.p99 / spun.p99:.2f}"
                rows.append(Row(f"beside {name}", f"p99 at most {MOST}x", text, found.p99 <= MOST * spun.p99))
    return rows


def _times(address: str, folder: str, loads: list[Callable[[str, str], Callable[[], Any]]]) -> Times:
    feed = np.random.default_rng(0).standard_normal((1, 64), dtype=np.float32)
    with connect(address) as host, _busy(address, folder, loads):
        light = host.model("light")
        (name,) = [each["name"] for each in light.get_inputs()]
        taken, end = [], time.perf_counter() + SECONDS
        while (start := time.perf_counter()) < end:
            light.run(None, {name: feed})
            taken.append(time.perf_counter() - start)
    p50, p99 = np.quantile(taken, (0.5, 0.99))
    return Times(float(p50), float(p99))


@contextmanager
def _busy(address: str, folder: str, loads: list[Callable[[str, str], Callable[[], Any]]]) -> Iterator[None]:
    context = mp.get_context("spawn")
    ready = context.Semaphore(0)
    processes = [context.Process(target=_work, args=(load, address, folder, ready)) for load in loads]
    for process in processes:
        process.start()
    for _ in processes:
        if not ready.acquire(timeout=120):
            raise RuntimeError("a process of the benchmark did not begin")
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


def _work(load: Callable[[str, str], Callable[[], Any]], address: str, folder: str, ready: Any) -> None:
    call = load(address, folder)
    call()
    ready.release()
    while True:
        call()


# -- the loads: each opens what it uses, and gives the call that is made again and again -------------------------


def _spin(address: str, folder: str) -> Callable[[], Any]:
    return lambda: sum(range(10**6))


def _ocr(address: str, folder: str) -> Callable[[], Any]:
    page = next(Path(folder).glob("*.png")).read_bytes()
    model = connect(address).model("ocr")
    return lambda: model.ocr(page)


def _pose(address: str, folder: str) -> Callable[[], Any]:
    from sharedmodel.client.sapiens import PoseEstimator

    os.environ["SHAREDMODEL_ADDRESS"] = address
    pose, photo = PoseEstimator(f"{folder}/pose.pt2"), np.zeros((480, 640, 3), np.uint8)
    return lambda: pose.estimate(photo)


def _embedding(address: str, folder: str) -> Callable[[], Any]:
    model = connect(address).model("embedder")
    return lambda: model.embed([SENTENCE * length for length in range(1, 17)])


def _translation(address: str, folder: str) -> Callable[[], Any]:
    model = connect(address).model("translator")
    return lambda: model.translate([SENTENCE] * 8)


LOADS: Final = {"OCR": _ocr, "poses": _pose, "embedding": _embedding, "translation": _translation}
