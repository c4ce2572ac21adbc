"""What runs a model: onnxruntime, CTranslate2, or PyTorch as the reference. Each gives token ids for rows of them.

None is imported before a model loads. Runs of one engine may be made by several threads at once.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Final, Protocol

import numpy as np

from sharedmodel.errors import BadArgument, Cancelled
from sharedmodel.reply import cancelled
from sharedmodel.tensor import Array

from ...machine.governor import CPU
from ...machine.seat import Seat, number_of
from ..onnx_graph import Graph
from ..torch_device import TorchDevice
from .rules import Rules
from .search import Likeliest, search
from .tokens import Tokens

Row = Sequence[int]


class Engine(Protocol):
    """A loaded model."""

    def generate(self, rows: Sequence[Row], rules: Rules) -> list[list[list[int]]]:
        """Of each row ``num_return_sequences`` lists of token ids, the best first, from the start to the end."""

    def shrink(self) -> None:
        """Have the next run give back memory that the library holds and does not use."""


def padded(rows: Sequence[Row], pad: int) -> tuple[Array, Array]:
    """Rows side by side, padded to the right: ids and mask, (rows, longest) of int64."""
    longest = max(map(len, rows), default=0)
    ids = np.full((len(rows), longest), pad, np.int64)
    mask = np.zeros((len(rows), longest), np.int64)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = row
        mask[number, : len(row)] = 1
    return ids, mask


class OnnxEngine:
    """The two graphs of `graphs`, run by onnxruntime; the search between their runs is ours."""

    def __init__(
        self, folder: str, *, positions: int, threads: int | None, providers: Sequence[Any], seat: Seat
    ) -> None:
        """``positions``: how long a row may get. Raises ValueError for a provider that there is not."""
        self._encoder, self._decoder = (
            Graph(os.path.join(folder, f"{name}.onnx"), threads=threads, providers=providers, seat=seat)
            for name in ("encoder", "decoder")
        )
        self._cross = [one.name for one in self._encoder.session.get_outputs()]
        self._outputs = [one.name for one in self._decoder.session.get_outputs()]
        inputs = {one.name: one for one in self._decoder.session.get_inputs()}
        self._past = [name for name in inputs if name.startswith("past_")]
        _, _, self._heads, _, self._size = inputs[self._past[0]].shape
        self.vocabulary = int(inputs["bias"].shape[0])
        self._positions = positions

    def generate(self, rows: Sequence[Row], rules: Rules) -> list[list[list[int]]]:
        ids, mask = padded(rows, rules.pad)
        cross = _run(self._encoder, self._cross, {"ids": ids, "mask": mask})
        empty = np.empty((2, len(rows) * rules.num_beams, self._heads, 0, self._size), np.float32)
        state = _State(self, mask, dict(zip(self._cross, cross, strict=True)), [empty] * len(self._past))
        return search(state, len(rows), rules)

    def shrink(self) -> None:
        self._encoder.shrink()
        self._decoder.shrink()

    def step(self, feed: dict[str, Array], past: Sequence[Array]) -> list[Array]:
        """One run of the decoder. Raises IndexError, in PyTorch's words, where it has no more positions."""
        length = past[0].shape[3]
        if length >= self._positions:
            raise IndexError("index out of range in self")
        feed = {**feed, **dict(zip(self._past, past, strict=True))}
        # Each step needs a little more than the one before: that is no outlier.
        return _run(self._decoder, self._outputs, feed, noted=not length)


class _State:
    """Some rows in the middle of their translation: the `Decoder` of the search."""

    def __init__(self, engine: OnnxEngine, mask: Array, cross: dict[str, Array], past: list[Array]) -> None:
        self._engine, self._mask, self._cross, self._past = engine, mask, cross, past

    @property
    def vocabulary(self) -> int:
        return self._engine.vocabulary

    def step(self, tokens: Array, bias: Array, top: int) -> Likeliest:
        feed = {"token": tokens, "bias": bias, "top": np.array(top, np.int64), "mask": self._mask, **self._cross}
        values, ids, norm, norm_all, *self._past = self._engine.step(feed, self._past)
        return Likeliest(values, ids, norm, norm_all)

    def keep(self, rows: Array | None, beams: Array) -> None:
        if rows is not None:
            self._mask = self._mask[rows]
            longest = int(self._mask.sum(axis=1).max())  # padding that nobody needs any more
            self._mask = np.ascontiguousarray(self._mask[:, :longest])
            self._cross = {
                name: np.ascontiguousarray(states[:, rows, :, :longest]) for name, states in self._cross.items()
            }
        if len(beams) != self._past[0].shape[1] or (beams != np.arange(len(beams))).any():
            self._past = [states[:, beams] for states in self._past]


class TorchEngine:
    """The weights of a folder of transformers, run by its own `generate`."""

    def __init__(self, folder: str, *, threads: int | None, seat: Seat) -> None:
        import torch
        from transformers import GenerationConfig, MarianMTModel

        from ...machine.torch_threads import limit_torch

        if threads is not None:
            limit_torch(threads)  # of the whole host: PyTorch knows no other
        self._torch, self._config = torch, GenerationConfig
        self._device = TorchDevice(*seat)
        self._model = self._device.put(MarianMTModel.from_pretrained(folder, dtype=torch.float32).eval())
        self._model.generation_config = GenerationConfig()

    def generate(self, rows: Sequence[Row], rules: Rules) -> list[list[list[int]]]:
        torch = self._torch
        ids, mask = (self._device.put(torch.from_numpy(each)) for each in padded(rows, rules.pad))
        config = self._config(
            max_length=rules.max_length, min_length=rules.min_length, num_beams=rules.num_beams,
            num_return_sequences=rules.num_return_sequences, length_penalty=rules.length_penalty,
            early_stopping=rules.early_stopping, bad_words_ids=[[word] for word in rules.bad] or None,
            forced_eos_token_id=None if rules.forced_eos is None else list(rules.forced_eos),
            renormalize_logits=rules.renormalize, eos_token_id=list(rules.eos), pad_token_id=rules.pad,
            decoder_start_token_id=rules.start,
        )  # fmt: skip
        with torch.inference_mode():
            found = self._model.generate(input_ids=ids, attention_mask=mask, generation_config=config).tolist()
        cut = [_cut(each, rules) for each in found]
        count = rules.num_return_sequences
        return [cut[start : start + count] for start in range(0, len(cut), count)]

    def shrink(self) -> None:
        self._device.shrink()


class Ct2Engine:
    """CTranslate2. Its beams are those of transformers where it has more patience: twice as many finished ones."""

    _PATIENCE: Final = 2.0

    def __init__(
        self, folder: str, tokens: Tokens, *, positions: int, int8: bool, threads: int | None, seat: Seat
    ) -> None:
        """Raises BadArgument where this CTranslate2 can't run there."""
        import ctranslate2

        if seat.device != CPU and number_of(seat.device) >= (count := ctranslate2.get_cuda_device_count()):
            raise BadArgument(f"CTranslate2 {ctranslate2.__version__} here can't run on {seat.device}: it sees {count}")
        self._tokens, self._positions = tokens, positions
        self._model = ctranslate2.Translator(
            folder, device="cpu" if seat.device == CPU else "cuda", device_index=number_of(seat.device),
            compute_type="int8" if int8 else "float32", inter_threads=1,
            intra_threads=threads or len(os.sched_getaffinity(0)),
        )  # fmt: skip

    def generate(self, rows: Sequence[Row], rules: Rules) -> list[list[list[int]]]:
        for name, usual in (("early_stopping", False), ("num_return_sequences", 1)):
            if getattr(rules, name) != usual:
                raise NotImplementedError(f"generate({name}=...) is not carried by the engine ctranslate2")
        token, number = self._tokens.token, self._tokens.number
        found = self._model.translate_batch(
            [[token(one) for one in row] for row in rows],
            beam_size=rules.num_beams, patience=self._PATIENCE if rules.num_beams > 1 else 1.0,
            length_penalty=rules.length_penalty,
            max_decoding_length=min(rules.max_length, self._positions + 1) - 2,
            min_decoding_length=max(rules.min_length - 1, 0),
            suppress_sequences=[[token(word)] for word in rules.bad if word != rules.pad],  # which it does not have
            max_input_length=0, batch_type="examples",
        )  # fmt: skip
        end = rules.eos[0]
        return [[[rules.start, *map(number, hypothesis), end] for hypothesis in result.hypotheses] for result in found]

    def shrink(self) -> None:
        """CTranslate2 keeps no more than it needs on processors, and can't be told on a GPU."""


def _run(graph: Graph, outputs: list[str], feed: dict[str, Array], *, noted: bool = True) -> list[Array]:
    if cancelled():
        raise Cancelled("the call was cancelled while it ran")
    found: list[Array] = graph.run(outputs, feed, noted=noted)
    return found


def _cut(ids: list[int], rules: Rules) -> list[int]:
    """Without the padding after the end."""
    end = next((place for place, one in enumerate(ids) if place and one in rules.eos), len(ids) - 1)
    return ids[: end + 1]
