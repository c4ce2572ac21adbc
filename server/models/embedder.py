"""Sentence embeddings: one model's texts to vectors, for the stand-ins of sentence-transformers and fastembed.

Tokenising, the graph and pooling run here in the host, on the thread of the call: all three are native code
that lets go of the interpreter's lock, so other models in the host go on (see `embedding`). What is left to
Python is a loop over rows, microseconds each. Callers scale, cut and round the vectors themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np

from sharedmodel import reply
from sharedmodel.tensor import Array

from ..machine.governor import CPU
from ..machine.seat import Seat
from . import hub
from .embedding.batching import EmbedderBatching
from .embedding.engines import Engine, OnnxEngine, TorchEngine
from .embedding.export import exported
from .embedding.packing import Padded, Row, padded, runs
from .embedding.pooling import normalized, pooled
from .embedding.recipe import Recipe
from .embedding.source import on_hub, recipe_of
from .embedding.tokens import Text, Tokens
from .row_model import RowModel, likeness
from .versions import versions

_PROBE: Final = ("warm up",)


class EmbedderModel(RowModel[Engine]):
    """One loaded model of sentence embeddings. Safe to call from many threads at once.

    path        a folder of sentence-transformers, of transformers, or for fastembed
    name        the name on the hub by which sentence-transformers' users call it; it is looked for in the hub's
                cache, and downloaded where the host may, unless ``path`` says where it lies
    revision    of ``name``: a branch, a tag or a commit
    fastembed   a name in fastembed's list; its files lie in ``path``, or in fastembed's cache
    pooling     for a graph of one's own in ``path``: "cls", "mean", "lasttoken" or "none"
    normalize   whether such vectors are scaled to length 1
    model_file  such a graph's file, within the folder
    output      the name of such a graph's output that counts
    cache_folder  where downloads are kept, if not in the library's own place
    local_files_only   download nothing
    engine      "onnx": onnxruntime, the graph being made from the weights where there is none (once, in a process
                of its own); "torch": PyTorch, the reference, for a model with weights
    threads     processors that one run may use; None takes every one that this process may
    tokens_per_run   most tokens in one run of the graph, padding included
    providers   onnxruntime's execution providers, in order of preference
    device      "cpu", or a GPU that the engine can use, such as "cuda:0", in the place of `providers`: the server
                says which, by the model's key `device`
    device_memory   most bytes of it that the engine may take; without: what the server may use of it
    """

    compared = staticmethod(hub.compared)
    on_hub = staticmethod(on_hub)

    def __init__(
        self,
        path: str | None = None,
        *,
        name: str | None = None,
        revision: str | None = None,
        fastembed: str | None = None,
        pooling: Literal["cls", "mean", "lasttoken", "none"] | None = None,
        normalize: bool = False,
        model_file: str = "model.onnx",
        output: str | None = None,
        cache_folder: str | None = None,
        local_files_only: bool = False,
        engine: Literal["onnx", "torch"] = "onnx",
        threads: int | None = None,
        tokens_per_run: int = 4096,
        providers: Sequence[str] = ("CPUExecutionProvider",),
        device: str = "cpu",
        device_memory: int | None = None,
    ) -> None:
        super().__init__(tokens_per_run, likeness(device, providers))
        recipe = recipe_of(
            path, name=name, revision=revision, fastembed=fastembed, pooling=pooling, normalize=normalize,
            model_file=model_file, output=output, cache_folder=cache_folder, local_only=local_files_only,
        )  # fmt: skip
        self._engine = _engine(engine, recipe, threads, providers, Seat(device, device_memory))
        self._kind = engine
        self._recipe = recipe
        self._tokens = Tokens(
            recipe.folder, max_length=recipe.max_length, lowercase=recipe.lowercase, typed=recipe.typed
        )
        self.max_length = recipe.max_length
        self._device = device
        self._size = self.vectors(self.rows(_PROBE)).shape[1]

    def embed(
        self, texts: Sequence[Text], max_length: int | None = None, prompt: str = "", include_prompt: bool | None = None
    ) -> Array:
        """Vectors of shape (texts, size), float32 as a rule. A text is a string, or a pair of them; one text alone
        counts as one of one.

        ``max_length``: cut texts to so many tokens, special ones included. ``prompt`` comes before each text;
        ``include_prompt``: whether its tokens are pooled with the others. None: as the model says.
        Raises TypeError for what is no text, RuntimeError for more tokens than the model has positions.
        """
        found = self.vectors(self.rows(texts, max_length, prompt, include_prompt))
        out = reply.empty(found.shape, found.dtype)
        out[...] = found
        return out

    def token_embeddings(self, texts: Sequence[Text], max_length: int | None = None, prompt: str = "") -> list[Array]:
        """Of each text the vectors of its tokens, (tokens, size), before pooling."""
        rows = self.rows(texts, max_length, prompt)
        results: list[Any] = [None] * len(rows)
        for chosen in runs([len(row.ids) for row in rows], self._budget, self._alike):
            hidden, _ = self._hidden([rows[number] for number in chosen])
            for number, states in zip(chosen, hidden, strict=True):
                results[number] = states[: len(rows[number].ids)].copy()
        return results

    def tokenize(self, texts: Sequence[Text], max_length: int | None = None, prompt: str = "") -> dict[str, Any]:
        """`input_ids`, `token_type_ids` and `attention_mask`, (texts, longest) of int64; `prompt_length` if any."""
        side = padded(self._tokens.rows(texts, max_length, prompt), self._tokens.pad)
        told = {"input_ids": side.ids, "token_type_ids": side.types, "attention_mask": side.mask}
        return told | ({"prompt_length": self._tokens.length(prompt, max_length)} if prompt else {})

    def count(self, texts: Sequence[Text]) -> int:
        """How many tokens the texts are, together, each cut to what the model takes."""
        return sum(len(row.ids) for row in self._tokens.rows(texts))

    def card(self) -> dict[str, Any]:
        """The size of its vectors, the longest text in tokens, and what its folder says for callers."""
        recipe = self._recipe
        return {
            "size": self._size,
            "max_length": recipe.max_length,
            "include_prompt": recipe.include_prompt,
            "engine": self._kind,
            **recipe.told,
        }

    @staticmethod
    def about() -> dict[str, Any]:
        """Versions of the libraries that are installed in this host, and fastembed's list of models."""
        from .embedding.registry import supported

        told = versions("fastembed", "onnxruntime", "sentence-transformers", "tokenizers", "transformers")
        return {"versions": told, "fastembed": supported()}

    def batching(self) -> EmbedderBatching:
        """How calls of `embed` run together."""
        return EmbedderBatching(self)

    def canary(self) -> dict[str, Any]:
        """A first call to make."""
        return {"method": "embed", "args": ([*_PROBE],)}

    def warmup(self) -> dict[str, Any] | None:
        """On a GPU a call that needs as much memory as any: it keeps the most that it has once had."""
        if self._device == CPU:
            return None
        tokens = min(self.max_length, self._recipe.positions or self.max_length)
        return {"method": "embed", "args": (self.filling(tokens), tokens)}

    # -- steps -----------------------------------------------------------------------------------------

    def rows(
        self, texts: Sequence[Text], max_length: int | None = None, prompt: str = "", include_prompt: bool | None = None
    ) -> list[Row]:
        """The texts of a call of `embed`, tokenised. Raises what `embed` does."""
        texts = [texts] if isinstance(texts, str) else texts
        include = self._recipe.include_prompt if include_prompt is None else include_prompt
        skip = self._tokens.length(prompt, max_length) if prompt and not include else 0
        rows = self._tokens.rows(texts, max_length, prompt, skip)
        most, longest = self._recipe.positions, max((len(row.ids) for row in rows), default=0)
        if most is not None and longest > most:
            # PyTorch's words: what sentence-transformers' users see and search for.
            sizes = f"The size of tensor a ({longest}) must match the size of tensor b ({most})"
            raise RuntimeError(f"{sizes} at non-singleton dimension 1")
        return rows

    def vectors(self, rows: Sequence[Row]) -> Array:
        """The vectors of tokenised texts, whosever they are, in their order."""
        out: Array | None = None
        for number, vector in self._each(rows, [len(row.ids) for row in rows], self._pooled):
            if out is None:
                out = np.empty((len(rows), *vector.shape), vector.dtype)
            out[number] = vector
        return np.empty((0, self._size), np.float32) if out is None else out

    def _pooled(self, rows: Sequence[Row]) -> list[Array]:
        hidden, side = self._hidden(rows)
        found = pooled(hidden, side.mask, [row.skip for row in rows], self._recipe.pooling)
        return list(normalized(found) if self._recipe.normalize else found)

    def _hidden(self, rows: Sequence[Row]) -> tuple[Array, Padded]:
        engine, side = self._opened(), padded(rows, self._tokens.pad)
        return engine.hidden(side), side


def _engine(kind: str, recipe: Recipe, threads: int | None, providers: Sequence[str], seat: Seat) -> Engine:
    if kind == "torch":
        return TorchEngine(recipe.folder, threads=threads, seat=seat)
    graph = recipe.graph if recipe.graph is not None else exported(recipe.folder)
    return OnnxEngine(graph, recipe.output, threads=threads, providers=providers, seat=seat)
