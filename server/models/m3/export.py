"""The graph of a model in BGE-M3's layout: made once, by a process of its own, and kept by content (see `made`).

    exported(folder, …)                          the host: looks in the cache, else starts the process
    python -m ….export FOLDER TO WEIGHTS POOLING that process: PyTorch, transformers, the ONNX exporter

What is kept is a folder, the graph and its weights. In: `input_ids` and `attention_mask`, (rows, tokens). Out, none
of them scaled to length 1:

    dense    (rows, size)             the pooled vector
    sparse   (rows, tokens)           weights of tokens, 0 or more
    colbert  (rows, tokens - 1, size) vectors of all tokens but the first, zeros for padding

Attention takes its queries a block at a time: a text of 8,192 tokens needs as much memory for its scores as
eight of 1,024, where at once it would be gigabytes.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Final

from ..embedding.export import weights
from ..graph_files import GRAPH, save
from ..made import digest, kept, run_maker

OUTPUTS: Final = ("dense", "sparse", "colbert")
LINEAR: Final = ("colbert_linear.pt", "sparse_linear.pt")
_VERSION: Final = "1"  # of the graphs that this module makes
_SCORES: Final = 1 << 22  # of attention at a time, for each head
_FEWEST: Final = 64  # queries in a block

_ATTENTION: Final = """
def attention(query, key, value, bias, most: int, fewest: int):
    block = max(fewest, most // (query.size(0) * key.size(2)))
    found = []
    for number in range((query.size(2) + block - 1) // block):
        some = query[:, :, number * block : (number + 1) * block]
        scores = torch.matmul(some, key.transpose(2, 3)) + bias
        found.append(torch.matmul(torch.softmax(scores, -1), value))
    return torch.cat(found, 2)
"""


def exported(folder: str, dtype: str, pooling: str) -> str:
    """The graph of the model in a folder. ``dtype``: what its weights are rounded to before it computes in float32.

    Raises ValueError for a folder without all of its weights, RuntimeError with what the exporter said.
    """
    files = [*weights(folder), *linear(folder)]
    name = f"{digest(files, 'bge-m3', _VERSION, dtype, pooling)}.m3"
    return os.path.join(kept(name, lambda path: _make(folder, path, dtype, pooling)), GRAPH)


def linear(folder: str) -> list[str]:
    """The files of the linear layers. Raises ValueError where one is not there: it would be random."""
    paths = [os.path.join(folder, name) for name in LINEAR]
    for path in paths:
        if not os.path.isfile(path):
            raise ValueError(f"the model in {folder} is not of BGE-M3's layout: there is no {os.path.basename(path)}")
    return paths


def _make(folder: str, path: str, dtype: str, pooling: str) -> None:
    run_maker(__name__, f"the model in {folder} could not be exported to ONNX", folder, path, dtype, pooling)


def _export(folder: str, path: str, dtype: str, pooling: str) -> None:
    import torch

    # Two rows, one of them padded: nothing may be taken for a constant, and no mask for all ones.
    ids = torch.tensor([[0, 5, 6, 2], [0, 5, 2, 1]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    axes = {0: "rows", 1: "tokens"}
    of_outputs = {"dense": {0: "rows"}, "sparse": axes, "colbert": {0: "rows", 1: "others"}}
    module = _module(folder, dtype, pooling)

    def export(graph: str) -> None:
        with torch.no_grad():
            torch.onnx.export(
                module, (ids, mask), graph, dynamo=False, opset_version=17,
                input_names=["input_ids", "attention_mask"], output_names=list(OUTPUTS),
                dynamic_axes={"input_ids": axes, "attention_mask": axes, **of_outputs},
            )  # fmt: skip

    save(path, export)


def _module(folder: str, dtype: str, pooling: str) -> Any:
    import torch
    from transformers import AutoModel

    rounded = getattr(torch, dtype)
    _register_attention(torch)
    encoder = AutoModel.from_pretrained(folder, dtype=rounded, attn_implementation="blocks").float().eval()
    colbert, sparse = (_linear(torch, path, rounded) for path in linear(folder))

    class Outputs(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.colbert, self.sparse = encoder, colbert, sparse

        def forward(self, ids: Any, mask: Any) -> Any:
            hidden = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
            weights = torch.relu(self.sparse(hidden))[:, :, 0]
            vectors = self.colbert(hidden[:, 1:]) * mask[:, 1:, None].float()
            return _pooled(torch, hidden, mask, pooling), weights, vectors

    return Outputs().eval()


def _pooled(torch: Any, hidden: Any, mask: Any, pooling: str) -> Any:
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "mean":
        return (hidden * mask[:, :, None].float()).sum(1) / mask.sum(1, keepdim=True).float()
    last = mask.sum(1) - 1
    return hidden.gather(1, last[:, None, None].expand(-1, 1, hidden.size(2)))[:, 0]


def _linear(torch: Any, path: str, dtype: Any) -> Any:
    state = torch.load(path, map_location="cpu", weights_only=True)
    outputs, inputs = state["weight"].shape
    found = torch.nn.Linear(inputs, outputs, dtype=dtype)
    found.load_state_dict(state)
    return found.float()


def _register_attention(torch: Any) -> None:
    """As one of transformers' implementations, called "blocks"; its mask is the one of the call, (rows, tokens)."""
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    blocks = torch.jit.CompilationUnit(_ATTENTION).attention
    lowest = torch.finfo(torch.float32).min

    def attention(
        module: Any, query: Any, key: Any, value: Any, mask: Any, scaling: float | None = None, **_: Any
    ) -> tuple[Any, None]:
        query = query * (query.size(-1) ** -0.5 if scaling is None else scaling)
        bias = (1 - mask[:, None, None, :].float()) * lowest
        return blocks(query, key, value, bias, _SCORES, _FEWEST).transpose(1, 2), None

    ALL_ATTENTION_FUNCTIONS.register("blocks", attention)
    ALL_MASK_ATTENTION_FUNCTIONS.register("blocks", lambda *_, attention_mask=None, **__: attention_mask)


if __name__ == "__main__":
    _export(*sys.argv[1:])
