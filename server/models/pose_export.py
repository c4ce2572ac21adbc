"""The graph of a pose model that is a torchscript: made once, by a process of its own, and kept by content.

    exported(file, …)                            the host: looks in the cache, else starts the process
    python -m ….pose_export FILE TO HEIGHT WIDTH that process: PyTorch and the ONNX exporter, gone when it is done

In: `images` (rows, 3, height, width) of float32. Out: `heatmaps` (rows, keypoints, …).
"""

from __future__ import annotations

import os
import sys
from typing import Final

from .graph_files import GRAPH, save
from .made import digest, kept, run_maker

_VERSION: Final = "1"  # of the graphs that this module makes
_ZIP: Final = b"PK\x03\x04"


def is_torchscript(path: str) -> bool:
    """Whether a file is one: a torchscript is a zip archive, a graph is not."""
    with open(path, "rb") as file:
        return file.read(len(_ZIP)) == _ZIP


def exported(path: str, height: int, width: int) -> str:
    """The graph of a torchscript for images of this size. Raises RuntimeError with what the exporter said."""
    name = f"{digest([path], 'pose', _VERSION, str(height), str(width))}.pose"
    return os.path.join(kept(name, lambda folder: _make(path, folder, height, width)), GRAPH)


def _make(path: str, folder: str, height: int, width: int) -> None:
    what = f"the torchscript {path} could not be exported to ONNX for images of {height} x {width}"
    run_maker(__name__, what, path, folder, str(height), str(width))


def _export(path: str, folder: str, height: str, width: str) -> None:
    import torch

    module = torch.jit.load(path, map_location="cpu").float().eval()
    images = torch.zeros(2, 3, int(height), int(width))
    rows = {0: "rows"}

    def export(graph: str) -> None:
        with torch.no_grad():
            torch.onnx.export(
                module, (images,), graph, dynamo=False, opset_version=17, input_names=["images"],
                output_names=["heatmaps"], dynamic_axes={"images": rows, "heatmaps": rows},
            )  # fmt: skip

    save(folder, export)


if __name__ == "__main__":
    _export(*sys.argv[1:])
