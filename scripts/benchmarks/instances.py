"""Pages a second of one OCR model and of two instances of it, by four callers."""

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
instances = {}
"""


def run() -> list[Row]:
    """The row of the table."""
    with tempfile.TemporaryDirectory(prefix="sm-") as folder:
        pages = [path.read_bytes() for path in write(make(PAGES), Path(folder))]
        rates: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(ROUNDS):
            for count, found in rates.items():
                found.append(_rate(count, pages))
    one, two = (statistics.median(found) for found in rates.values())
    text = f"{two:.2f} pages/s against {one:.2f}, ratio {two / one:.2f}"
    return [Row("OCR by two instances, against one", "at least 1.7x", text, two / one >= 1.7)]


def _rate(instances: int, pages: list[bytes]) -> float:
    with (
        tempfile.TemporaryDirectory(prefix="sm-") as runtime,
        running_server(CONFIG.format(instances), runtime) as server,
        connect(server.address) as host,
        ThreadPoolExecutor(CALLERS) as pool,
    ):
        ocr = host.model("ocr")
        list(pool.map(ocr.ocr, pages[:CALLERS]))
        start = time.perf_counter()
        assert all(pool.map(ocr.ocr, pages))
        return len(pages) / (time.perf_counter() - start)
