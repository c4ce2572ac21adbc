"""What runs BGE-M3: onnxruntime, or FlagEmbedding's own model as the reference. Both give the graph's outputs.

Neither is imported before a model loads. Runs of one engine may be made by several threads at once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from sharedmodel.tensor import Array

from ...machine.seat import Seat
from ..embedding.packing import Padded
from ..onnx_graph import Graph
from ..torch_device import TorchDevice
from .export import OUTPUTS, linear


class Engine(Protocol):
    """A loaded model."""

    def outputs(self, padded: Padded, wanted: Collection[str]) -> Mapping[str, Array]:
        """Those of "dense", "sparse" and "colbert" that are wanted (see `export`)."""

    def shrink(self) -> None:
        """Have the next run give back memory that the library holds and does not use."""


class OnnxEngine:
    """The graph of `export`, run by onnxruntime."""

    def __init__(self, graph: str, *, threads: int | None, providers: Sequence[Any], seat: Seat) -> None:
        """Raises ValueError for a provider that there is not."""
        self._graph = Graph(graph, threads=threads, providers=providers, seat=seat)

    def outputs(self, padded: Padded, wanted: Collection[str]) -> Mapping[str, Array]:
        names = [name for name in OUTPUTS if name in wanted]
        feed = {"input_ids": padded.ids, "attention_mask": padded.mask}
        return dict(zip(names, self._graph.run(names, feed, only=len(names) < len(OUTPUTS)), strict=True))

    def shrink(self) -> None:
        self._graph.shrink()


class TorchEngine:
    """FlagEmbedding's own model, run by PyTorch."""

    def __init__(self, folder: str, dtype: str, pooling: str, *, threads: int | None, seat: Seat) -> None:
        linear(folder)
        import torch
        from FlagEmbedding import BGEM3FlagModel

        from ...machine.torch_threads import limit_torch

        if threads is not None:
            limit_torch(threads)  # of the whole host: PyTorch knows no other
        self._torch = torch
        self._device = TorchDevice(*seat)
        model = BGEM3FlagModel(
            folder, normalize_embeddings=False, use_fp16=dtype == "float16", use_bf16=dtype == "bfloat16",
            devices="cpu", pooling_method=pooling,
        ).model.float().eval()  # fmt: skip
        self._model = self._device.put(model)

    def outputs(self, padded: Padded, wanted: Collection[str]) -> Mapping[str, Array]:
        torch, put = self._torch, self._device.put
        feed = {"input_ids": put(torch.from_numpy(padded.ids)), "attention_mask": put(torch.from_numpy(padded.mask))}
        with torch.inference_mode():
            found = self._model(
                feed, return_dense="dense" in wanted, return_sparse="sparse" in wanted,
                return_colbert_vecs="colbert" in wanted,
            )  # fmt: skip
        told = {name: found[f"{name}_vecs"].cpu().numpy() for name in wanted}
        return told | ({"sparse": told["sparse"][:, :, 0]} if "sparse" in told else {})

    def shrink(self) -> None:
        self._device.shrink()
