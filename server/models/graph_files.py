"""A graph as a folder: `model.onnx`, and its weights beside it, which may exceed the 2 GB of a graph's own format.

For the processes that make graphs (see `made`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import Final

GRAPH: Final = "model.onnx"
_WEIGHTS: Final = "weights.bin"
_SMALL: Final = 1024  # bytes; less stays in the graph


def save(folder: str, export: Callable[[str], None]) -> None:
    """Make the folder. ``export`` is given a path to write the graph at, and may write weights beside it."""
    import onnx

    raw = os.path.join(folder, "raw")
    os.makedirs(raw)
    export(os.path.join(raw, GRAPH))
    model = onnx.load(os.path.join(raw, GRAPH))
    onnx.save_model(
        model, os.path.join(folder, GRAPH), save_as_external_data=True, location=_WEIGHTS, size_threshold=_SMALL
    )
    shutil.rmtree(raw)
