"""How long until there are answers: eight processes at a cold server, and callers of a host that was killed.

Both are held against one process that imports cnocr, loads its model and reads a line, as each of the others does:
not a page, because eight of them are seconds of reading, whoever has loaded what.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from scripts.pages import make, write
from sharedmodel.client import connect
from tests.servers import running_server

from .table import Row

PROCESSES: Final = 8
ROUNDS: Final = 3

CONFIG: Final = """
[models.ocr]
kind = "cnocr"
"""

_PRIVATE: Final = """
import sys
from sharedmodel.server.models.hollow import TORCHVISION, hollow
from sharedmodel.server.models.rapid import bundled
with hollow(TORCHVISION):
    from cnocr import CnOcr
rec, det = "multi_PP-OCRv6_small", "multi_PP-OCRv6_det_small"
ocr = CnOcr(rec, det_model_name=det, rec_model_fp=bundled(rec), det_model_fp=bundled(det))
assert ocr.ocr_for_single_line(sys.argv[1])
"""
_SHARED: Final = """
import sys
from sharedmodel.client import connect
assert connect().model("ocr", kind="cnocr").ocr_for_single_line(sys.argv[1])
"""


def run() -> list[Row]:
    """The rows of the table."""
    with tempfile.TemporaryDirectory(prefix="sm-") as folder:
        picture = str(write(make(1, lines=1), Path(folder))[0])
        private = statistics.median(_together(_PRIVATE, [picture], folder, 1) for _ in range(ROUNDS))
        cold = statistics.median(_cold(picture) for _ in range(ROUNDS))
        again = statistics.median(_again(picture) for _ in range(ROUNDS))
    return [
        Row(
            f"{PROCESSES} processes at a cold server, until all have an answer",
            "1.2x one private load + 1 s",
            f"{cold:.1f} s; one private load {private:.1f} s",
            cold <= 1.2 * private + 1,
        ),
        Row(
            "from a host's SIGKILL to the first answer",
            "one private load + 0.5 s",
            f"{again:.1f} s",
            again <= private + 0.5,
        ),
    ]


def _cold(picture: str) -> float:
    """Each time a server of its own, which the first of the processes starts."""
    with tempfile.TemporaryDirectory(prefix="sm-") as runtime:
        took = _together(_SHARED, [picture], runtime, PROCESSES)
        subprocess.run(
            [sys.executable, "-m", "sharedmodel.server.cli", "stop", "--runtime-dir", runtime],
            check=False, capture_output=True, env=_environment(runtime),
        )  # fmt: skip
    return took


def _again(picture: str) -> float:
    with (
        tempfile.TemporaryDirectory(prefix="sm-") as runtime,
        running_server(CONFIG, runtime) as server,
        connect(server.address) as host,
    ):
        ocr = host.model("ocr")
        ocr.ocr_for_single_line(picture)
        start = time.perf_counter()
        server.kill_host()
        ocr.ocr_for_single_line(picture)
        return time.perf_counter() - start


def _together(program: str, args: Sequence[str], runtime: str, count: int) -> float:
    start = time.perf_counter()
    running = [
        subprocess.Popen([sys.executable, "-c", program, *args], env=_environment(runtime)) for _ in range(count)
    ]
    codes = [process.wait() for process in running]
    assert not any(codes)
    return time.perf_counter() - start


def _environment(runtime: str) -> dict[str, str]:
    return {**os.environ, "SHAREDMODEL_RUNTIME_DIR": runtime}
