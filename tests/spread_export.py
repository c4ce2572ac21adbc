"""The embedder's exporter, where PyTorch writes a file beside the graph for each tensor, as it does with over 2 GB.

python -m tests.spread_export FOLDER TO
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import external_data_helper, numpy_helper

from sharedmodel.server.models.embedding import export

_plainly = torch.onnx.export


def _spread(module: Any, given: Any, path: str, **options: Any) -> None:
    _plainly(module, given, path, **options)
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        name = re.sub(r"\W", "_", tensor.name)
        Path(path).with_name(name).write_bytes(numpy_helper.to_array(tensor).tobytes())
        external_data_helper.set_external_data(tensor, name)
        tensor.ClearField("raw_data")
    onnx.save(model, path)


if __name__ == "__main__":
    torch.onnx.export = _spread
    export._export(*sys.argv[1:])
