"""What runs a model: onnxruntime, or PyTorch as the reference. Both give hidden states for padded rows.

Neither is imported before a model loads. Runs of one engine may be made by several threads at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

import numpy as np

from sharedmodel.tensor import Array

from ...machine.seat import Seat
from ..onnx_binding import dtype_of
from ..onnx_graph import Graph
from ..torch_device import TorchDevice
from .packing import Padded

_USUAL: Final = ("token_embeddings", "last_hidden_state")


class Engine(Protocol):
    """A loaded model."""

    def hidden(self, padded: Padded) -> Array:
        """Hidden states (rows, tokens, size), or what the graph gives instead."""

    def shrink(self) -> None:
        """Have the next run give back memory that the library holds and does not use."""


class OnnxEngine:
    """A graph with ``input_ids`` and perhaps ``attention_mask`` and ``token_type_ids``, run by onnxruntime."""

    def __init__(
        self, graph: str, output: str | int, *, threads: int | None, providers: Sequence[Any], seat: Seat
    ) -> None:
        """Raises ValueError for an output or a provider that there is not, NotImplementedError for a further input."""
        self._graph = Graph(graph, threads=threads, providers=providers, seat=seat)
        session = self._graph.session
        self._dtypes = {arg.name: dtype_of(arg.type) for arg in session.get_inputs()}
        self._output = _chosen(output, [arg.name for arg in session.get_outputs()])
        if further := self._dtypes.keys() - {"input_ids", "attention_mask", "token_type_ids"}:
            raise NotImplementedError(f"the graph {graph} has an input that is not carried: {min(further)}")

    def hidden(self, padded: Padded) -> Array:
        given = {"input_ids": padded.ids, "attention_mask": padded.mask, "token_type_ids": padded.types}
        feed = {name: given[name].astype(dtype, copy=False) for name, dtype in self._dtypes.items()}
        (found,) = self._graph.run([self._output], feed)
        return np.asarray(found)

    def shrink(self) -> None:
        self._graph.shrink()


class TorchEngine:
    """The weights of a folder of transformers, run by PyTorch."""

    def __init__(self, folder: str, *, threads: int | None, seat: Seat) -> None:
        import torch
        from transformers import AutoModel

        from ...machine.torch_threads import limit_torch

        if threads is not None:
            limit_torch(threads)  # of the whole host: PyTorch knows no other
        self._torch = torch
        self._device = TorchDevice(*seat)
        self._model = self._device.put(AutoModel.from_pretrained(folder, dtype=torch.float32).eval())
        self._typed = int(getattr(self._model.config, "type_vocab_size", 0) or 0) > 0

    def hidden(self, padded: Padded) -> Array:
        torch, put = self._torch, self._device.put
        feed = {"input_ids": put(torch.from_numpy(padded.ids)), "attention_mask": put(torch.from_numpy(padded.mask))}
        if self._typed:
            feed["token_type_ids"] = put(torch.from_numpy(padded.types))
        with torch.inference_mode():
            found: Array = self._model(**feed).last_hidden_state.cpu().numpy()
        return found

    def shrink(self) -> None:
        self._device.shrink()


def _chosen(output: str | int, names: list[str]) -> str:
    if isinstance(output, str):
        if output not in names:
            raise ValueError(f"Output {output!r} not found in the model, available outputs: {names}")
        return output
    usual = [name for name in _USUAL if name in names]
    return usual[0] if output == 0 and usual else names[output]
