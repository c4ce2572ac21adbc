"""Memory of a server and eight clients of a model with 400 MB of weights: proportional set size, all processes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import psutil

from scripts.demonstration.memory import proportional
from tests.onnx_graphs import mlp
from tests.servers import running_server

from .table import Row

CLIENTS: Final = 8
MOST: Final = 610e6

CONFIG: Final = """
[models.large]
kind = "onnx"
path = "large.onnx"
"""

_CLIENT: Final = """
import sys
import numpy as np
from sharedmodel.client import connect
large = connect(sys.argv[1]).model("large")
x = np.ones((1, 64), np.float32)
for _ in range(3):
    large.run(None, {"x": x})
print(flush=True)
sys.stdin.read()
"""


def run() -> list[Row]:
    """The row of the table."""
    with tempfile.TemporaryDirectory(prefix="sm-") as folder:
        path = Path(folder, "large.onnx")
        path.write_bytes(mlp(width=5752, layers=4))
        size = path.stat().st_size
        with running_server(CONFIG, folder) as server:
            clients = [_client(server.address) for _ in range(CLIENTS)]
            for client in clients:
                assert client.stdout is not None
                client.stdout.readline()
            supervisor = psutil.Process(server.process.pid)
            processes = [supervisor, *supervisor.children(recursive=True), *clients]
            total = proportional(process.pid for process in processes)
            for client in clients:
                client.communicate()
    text = f"{total / 1e6:,.0f} MB, of which {size / 1e6:,.0f} MB are the weights"
    return [Row(f"server and {CLIENTS} clients of a model of 400 MB", "at most 610 MB", text, total <= MOST)]


def _client(address: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _CLIENT, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
