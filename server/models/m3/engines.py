"""What runs BGE-M3: onnxruntime, or FlagEmbedding's own model as the reference. Both give the graph's outputs.

Neither is imported before a model loads. Runs of one engine may be made by several threads at once.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from sharedmodel.reply import on_cancel
from sharedmodel.tensor import Array

from ..embedding.engines import check_available
from ..embedding.packing import Padded
from ..onnx_arena import Arena
from ..onnx_options import session_options
from .export import OUTPUTS, linear


class Engine(Protocol):
    """A loaded model."""

    def outputs(self, padded: Padded, wanted: Collection[str]) -> Mapping[str, Array]:
        """Those of "dense", "sparse" and "colbert" that are wanted (see `export`)."""

    def shrink(self) -> None:
        """Have the next run give back memory that the library holds and does not use."""


class OnnxEngine:
    """The graph of `export`, run by onnxruntime."""

    def __init__(self, graph: str, *, threads: int, providers: Sequence[Any]) -> None:
        """Raises ValueError for a provider that there is not."""
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        import onnxruntime

        check_available(providers)
        options = session_options(
            threads=threads, inter_threads=None, spinning=False, optimization="all", parallel=False,
            deterministic=False, free_dimensions=None, free_denotations=None, config=None,
        )  # fmt: skip
        self._session = onnxruntime.InferenceSession(graph, options, providers=list(providers))
        self._options = onnxruntime.RunOptions
        self._arena = Arena(options.enable_cpu_mem_arena)

    def outputs(self, padded: Padded, wanted: Collection[str]) -> Mapping[str, Array]:
        names = [name for name in OUTPUTS if name in wanted]
        feed = {"input_ids": padded.ids, "attention_mask": padded.mask}
        options = self._options()
        options.only_execute_path_to_fetches = len(names) < len(OUTPUTS)
        self._arena.begins(options, feed.values())

        def stop() -> None:
            options.terminate = True

        with on_cancel(stop):
            return dict(zip(names, self._session.run(names, feed, options), strict=True))

    def shrink(self) -> None:
        self._arena.shrink()


class TorchEngine:
    """FlagEmbedding's own model, run by PyTorch."""

    def __init__(self, folder: str, dtype: str, pooling: str, *, threads: int | None) -> None:
        linear(folder)
        import torch
        from FlagEmbedding import BGEM3FlagModel

        from ...machine.torch_threads import limit_torch

        if threads is not None:
            limit_torch(threads)  # of the whole host: PyTorch knows no other
        self._torch = torch
        self._model = BGEM3FlagModel(
            folder, normalize_embeddings=False, use_fp16=dtype == "float16", use_bf16=dtype == "bfloat16",
            devices="cpu", pooling_method=pooling,
        ).model.float().eval()  # fmt: skip

    def outputs(self, padded: Padded, wanted: Collection[str]) -> Mapping[str, Array]:
        torch = self._torch
        feed = {"input_ids": torch.from_numpy(padded.ids), "attention_mask": torch.from_numpy(padded.mask)}
        with torch.inference_mode():
            found = self._model(
                feed, return_dense="dense" in wanted, return_sparse="sparse" in wanted,
                return_colbert_vecs="colbert" in wanted,
            )  # fmt: skip
        told = {name: found[f"{name}_vecs"].numpy() for name in wanted}
        return told | ({"sparse": told["sparse"][:, :, 0]} if "sparse" in told else {})

    def shrink(self) -> None:
        """PyTorch gives memory back by itself where it runs on processors."""
