"""A model's weights as a file that is mapped: hosts and instances share its pages, and loading reads nothing.

    mapped(path)                  the host: looks in the cache, else starts the process
    python -m ….onnx_mapped …     that process: optimizes the graph and writes it, its weights in a file beside it

onnxruntime maps weights that lie outside the graph; but as a rule it packs them anew for its kernels, into private
memory. So prepacking is to be off (`ENTRIES`): a run of several rows is then slower, by a quarter for an MLP.
"""

from __future__ import annotations

import mmap
import os
import sys
from types import MappingProxyType
from typing import Final

from sharedmodel.outside import refers_outside

from .made import digest, kept, run_maker

ENTRIES: Final = MappingProxyType({"session.disable_prepacking": "1"})
_GRAPH: Final = "model.onnx"
_WEIGHTS: Final = "weights.bin"
_LEAST: Final = "1024"  # bytes of a tensor that goes there


def mapped(path: str) -> str:
    """The model in a file, with its weights outside; it itself where they are so already. Raises RuntimeError."""
    if _is_outside(path):
        return path
    import onnxruntime

    name = f"mapped-{digest([path], onnxruntime.__version__)}"
    folder = kept(name, lambda part: run_maker(__name__, f"the weights of {path} could not be split off", path, part))
    return os.path.join(folder, _GRAPH)


def _is_outside(path: str) -> bool:
    with open(path, "rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return True  # onnxruntime says what is wrong with it
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return refers_outside(data)


def _split(path: str, folder: str) -> None:
    import onnxruntime

    os.mkdir(folder)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = os.path.join(folder, _GRAPH)
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", _WEIGHTS)
    options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", _LEAST)
    for entry, value in ENTRIES.items():
        options.add_session_config_entry(entry, value)
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    _split(*sys.argv[1:])
