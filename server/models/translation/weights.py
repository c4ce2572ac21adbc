"""The weights of both graphs in one file; part of the process that makes graphs (see `exports`).

onnxruntime maps such a file into memory: what it uses as it lies is the page cache's, and the embedding, half of a
small model, which encoder and decoder share, is there once. (Products are faster with weights that it packs for
them: a third more tokens a second, measured, so they are copied.)
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import Any, BinaryIO, Final

NAME: Final = "weights.bin"
_SMALL: Final = 1024  # bytes; what is smaller stays in its graph
_PAGE: Final = 4096


def lay_out(paths: Sequence[str]) -> None:
    """Move the weights of these graphs, which lie in one folder, into a file beside them."""
    import onnx

    places: dict[str, int] = {}
    with open(os.path.join(os.path.dirname(paths[0]), NAME), "wb") as file:
        for path in paths:
            model = onnx.load(path)
            for tensor in model.graph.initializer:
                _move(tensor, file, places)
            onnx.save(model, path)


def _move(tensor: Any, file: BinaryIO, places: dict[str, int]) -> None:
    from onnx import TensorProto, numpy_helper

    content = numpy_helper.to_array(tensor).tobytes()
    if len(content) < _SMALL:
        return
    digest = hashlib.sha256(content).hexdigest()
    if digest not in places:
        file.write(b"\0" * (-file.tell() % _PAGE))
        places[digest] = file.tell()
        file.write(content)
    for field in ("raw_data", "float_data", "int32_data", "int64_data"):
        tensor.ClearField(field)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", NAME), ("offset", places[digest]), ("length", len(content))):
        tensor.external_data.add(key=key, value=str(value))
