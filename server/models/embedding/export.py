"""The graph of a model that has weights only: made once, by a process of its own, and kept by content (see `made`).

exported(folder)              the host: looks in the cache, else starts the process; imports no torch
python -m ….export FOLDER TO  that process: PyTorch, transformers and the ONNX exporter, gone when it is done

What is kept is a folder, the graph and its weights.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Final

from ..graph_files import GRAPH, save
from ..made import digest, kept, run_maker
from .files import first_there

_WEIGHTS: Final = ("model.safetensors", "pytorch_model.bin", "model.safetensors.index.json")
_VERSION: Final = "2"  # of the graphs that this module makes
_INPUTS: Final = ("input_ids", "attention_mask", "token_type_ids")


def exported(folder: str) -> str:
    """The graph of the model in a folder of transformers. Raises RuntimeError, with what the exporter said."""
    name = f"{digest(weights(folder), 'embedder', _VERSION)}.embedder"
    return os.path.join(kept(name, lambda path: _make(folder, path)), GRAPH)


def weights(folder: str) -> list[str]:
    """The files that a model of transformers consists of. Raises ValueError where there are no weights."""
    found = first_there(folder, *_WEIGHTS)
    if found is None:
        raise ValueError(f"no weights in {folder}: there is none of {', '.join(_WEIGHTS)}")
    return [os.path.join(folder, "config.json"), *_parts(folder, found)]


def _parts(folder: str, weights: str) -> list[str]:
    if not weights.endswith(".json"):
        return [weights]
    names = sorted(name for name in os.listdir(folder) if name.endswith(".safetensors"))
    return [weights, *(os.path.join(folder, name) for name in names)]


def _make(folder: str, path: str) -> None:
    run_maker(__name__, f"the model in {folder} could not be exported to ONNX", folder, path)


def _export(folder: str, path: str) -> None:
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    typed = int(getattr(model.config, "type_vocab_size", 0) or 0) > 0
    names = _INPUTS if typed else _INPUTS[:2]

    class Hidden(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *given: Any) -> Any:
            return self.model(**dict(zip(names, given, strict=True))).last_hidden_state

    # Two rows, one of them padded: nothing may be taken for a constant, and no mask for all ones.
    ids = torch.tensor([[5, 6, 7, 8], [5, 6, 7, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    axes = {0: "rows", 1: "tokens"}

    def export(graph: str) -> None:
        with torch.no_grad():
            torch.onnx.export(
                Hidden().eval(), (ids, mask, torch.zeros_like(ids))[: len(names)], graph, dynamo=False,
                opset_version=17, input_names=list(names), output_names=["token_embeddings"],
                dynamic_axes={name: axes for name in (*names, "token_embeddings")},
            )  # fmt: skip

    save(path, export)


if __name__ == "__main__":
    _export(*sys.argv[1:])
