"""Pages a second of one OCR model and of two instances of it, by four callers.

An instance is a core's worth of work: two are held against one that has a core. One that has both, by the threads
of its runs and by reading two pages at once, is told beside it.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from scripts.pages import make, write
from sharedmodel.client import connect
from tests.servers import running_server

from .table import Row

CALLERS: Final = 4
PAGES: Final = 12
ROUNDS: Final = 3

CONFIG: Final = """
[models.ocr]
kind = "cnocr"
isolate = true
"""
WAYS: Final = {
    "one of a core": "threads = 1\nlanes = 1\n",
    "one of both": "",
    "two": "instances = 2\n",
}


def run() -> list[Row]:
    """The row of the table."""
    with tempfile.TemporaryDirectory(prefix="sm-") as folder:
        pages = [path.read_bytes() for path in write(make(PAGES), Path(folder))]
        rates: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(ROUNDS):
            for way, found in rates.items():
                found.append(_rate(WAYS[way], pages))
    one, both, two = (statistics.median(found) for found in rates.values())
    text = f"{two:.2f} pages/s against {one:.2f}, ratio {two / one:.2f}; one that has both cores: {both:.2f}"
    return [Row("OCR by two instances of a core each, against one", "at least 1.7x", text, two / one >= 1.7)]


def _rate(keys: str, pages: list[bytes]) -> float:
    with (
        tempfile.TemporaryDirectory(prefix="sm-") as runtime,
        running_server(CONFIG + keys, runtime) as server,
        connect(server.address) as host,
        ThreadPoolExecutor(CALLERS) as pool,
    ):
        ocr = host.model("ocr")
        list(pool.map(ocr.ocr, pages[:CALLERS]))
        start = time.perf_counter()
        assert all(pool.map(ocr.ocr, pages))
        return len(pages) / (time.perf_counter() - start)
