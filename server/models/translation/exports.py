"""What is made of a model's weights for the engines: once, by processes of their own, kept by content (see `made`).

graphs       PyTorch and transformers: both ONNX graphs
shortening   of these graphs, with weights of 8 bits
conversion   PyTorch and transformers: for CTranslate2
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ..embedding.export import weights
from ..made import digest, kept, run_maker

_VERSION: Final = "1"  # of what is made
_HERE: Final = "sharedmodel.server.models.translation."
# What is made, and the module that makes it, with a further word.
_MAKERS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "onnx": ("graphs",),
        "onnx-int8": ("shortening",),
        "ctranslate2": ("conversion", "float32"),
        "ctranslate2-int8": ("conversion", "int8"),
    }
)


def exported(folder: str, kind: str) -> str:
    """The folder with what an engine needs of the model in a folder of transformers.

    Raises ValueError where there are no weights, RuntimeError with what the maker said.
    """
    # CTranslate2 takes the vocabulary along.
    files = [*weights(folder), os.path.join(folder, "vocab.json")]
    return kept(f"{digest(files, 'marian', _VERSION)}.{kind}", lambda path: _make(folder, kind, path))


def _make(folder: str, kind: str, path: str) -> None:
    module, *words = _MAKERS[kind]
    source = exported(folder, "onnx") if kind == "onnx-int8" else folder
    run_maker(_HERE + module, f"the model in {folder} could not be made into {kind}", source, path, *words)
