"""BGE-M3: a model's texts to dense, lexical and ColBERT vectors in one pass, for FlagEmbedding's stand-in.

Tokenising, the graph, and what is made of its outputs run here in the host, on the thread of the call: all of it
is native code that lets go of the interpreter's lock, so other models in the host go on (see `m3`). What is left
to Python is a loop over rows, microseconds each.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from sharedmodel import reply
from sharedmodel.errors import BadArgument
from sharedmodel.tensor import Array

from ..machine.governor import CPU
from ..machine.seat import Seat
from . import hub
from .embedding.files import read_json
from .embedding.packing import Row, padded
from .embedding.recipe import positions_of
from .embedding.tokens import Text, Tokens, told_length
from .m3.batching import M3Batching
from .m3.engines import Engine, OnnxEngine, TorchEngine
from .m3.export import OUTPUTS, exported
from .m3.results import Empty, Results, Sizes, Wanted, all_outputs
from .m3.scoring import score
from .row_model import RowModel, likeness

_PROBE: Final = ("warm up",)
_LEFT_OUT: Final = ("onnx/*", "imgs/*")
# Tokens that have no weight, by the names that XLM-RoBERTa has for them where its folder says none.
_UNUSED: Final = {"cls_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}


class Asked(NamedTuple):
    """The texts of one call, tokenised, and where their results go."""

    rows: list[Row]
    results: Results


class BgeM3Model(RowModel[Engine]):
    """One loaded model in BGE-M3's layout. Safe to call from many threads at once.

    path        a folder with the weights, `tokenizer.json`, `colbert_linear.pt` and `sparse_linear.pt`
    name        the name on the hub by which FlagEmbedding's users call it; it is looked for in the hub's cache, and
                downloaded where the host may, unless ``path`` says where it lies
    weights     what its weights are rounded to, before they are used in float32: as FlagEmbedding rounds them where
                `use_fp16` (its default) or `use_bf16` is set, and runs on processors
    pooling     of the dense vector: "cls", "mean" or "last_token"
    cache_folder  where downloads are kept, if not in the hub's own place
    engine      "onnx": onnxruntime, the graph being made from the weights once, in a process of its own; "torch":
                FlagEmbedding's own model, the reference
    threads     processors that one run may use; None takes every one that this process may
    tokens_per_run   most tokens in one run, padding included; a longer text runs alone
    max_length  tokens at which texts are cut where a call does not say
    providers   onnxruntime's execution providers, in order of preference
    device      "cpu", or a GPU that the engine can use, such as "cuda:0", in the place of `providers`: the server
                says which, by the model's key `device`
    device_memory   most bytes of it that the engine may take; without: what the server may use of it
    """

    compared = staticmethod(hub.compared)
    on_hub = staticmethod(partial(hub.wanted, left_out=_LEFT_OUT))

    def __init__(
        self,
        path: str | None = None,
        *,
        name: str | None = None,
        weights: Literal["float16", "bfloat16", "float32"] = "float16",
        pooling: Literal["cls", "mean", "last_token"] = "cls",
        cache_folder: str | None = None,
        engine: Literal["onnx", "torch"] = "onnx",
        threads: int | None = None,
        tokens_per_run: int = 4096,
        max_length: int = 512,
        providers: Sequence[str] = ("CPUExecutionProvider",),
        device: str = "cpu",
        device_memory: int | None = None,
    ) -> None:
        super().__init__(tokens_per_run, likeness(device, providers))
        folder = hub.folder_of(path, name, None, cache_folder, False, *_LEFT_OUT)
        self._tokens = Tokens(folder, max_length=max_length, typed=False)
        self._unused = _unused(folder, self._tokens)
        self._positions = positions_of(read_json(folder, "config.json"))
        longest = told_length(folder) or self._positions or max_length
        seat = Seat(device, device_memory)
        self._engine = (
            TorchEngine(folder, weights, pooling, threads=threads, seat=seat)
            if engine == "torch"
            else OnnxEngine(exported(folder, weights, pooling), threads=threads, providers=providers, seat=seat)
        )
        self._device, self._longest = device, min(longest, self._positions or longest)
        self._about = {"engine": engine, "weights": weights, "max_length": longest}
        self.max_length = max_length
        self._sizes = self._measured()

    def encode(
        self,
        texts: Sequence[Text],
        max_length: int | None = None,
        dense: bool = True,
        sparse: bool = False,
        colbert: bool = False,
        normalize: bool = True,
        truncate_dim: int | None = None,
    ) -> dict[str, Array]:
        """What is wanted of texts, each a string or a pair of them; one text alone counts as one of one.

        "dense": (texts, size) of float32. "tokens", "weights": of all texts in turn, ids and what they weigh, each
        token once for a text; "counts" (texts,): how many are of which. "colbert": (tokens, size) of all texts in
        turn; "lengths" (texts,): how many are of which, one less than its tokens.

        ``max_length``: cut texts to so many tokens, special ones included; None: as configured. ``normalize``:
        scale vectors to length 1; ``truncate_dim``: to so many numbers, before that. Raises TypeError for what is no
        text, RuntimeError for more tokens than the model has positions.
        """
        asked = self.asked(texts, max_length, dense, sparse, colbert, normalize, truncate_dim, empty=reply.empty)
        self.run([asked])
        return asked.results.told()

    def score(
        self,
        pairs: Sequence[tuple[str, str]],
        max_query_length: int | None = None,
        max_passage_length: int | None = None,
        normalize: bool = True,
    ) -> Array:
        """How well queries and passages go together, (pairs, 5) of float64: the score of dense, of sparse and of
        ColBERT vectors, the last beside a longer passage, and the passage's tokens (see `m3.scoring.Score`)."""
        rows = self.rows([query for query, _ in pairs], max_query_length)
        rows += self.rows([passage for _, passage in pairs], max_passage_length)
        wanted = Wanted(dense=True, sparse=True, colbert=True, normalize=normalize)
        results = Results([len(row.ids) for row in rows], wanted, self._sizes)
        self.run([Asked(rows, results)])
        half = len(pairs)
        scores = [score(results, place, half + place, len(rows[half + place].ids)) for place in range(half)]
        return np.array(scores, np.float64).reshape(half, 5)

    def decode(self, tokens: Sequence[int]) -> list[str]:
        """What each token stands for."""
        return self._tokens.decode(tokens)

    def card(self) -> dict[str, Any]:
        """Sizes of its vectors, the longest text in tokens, its engine, what its weights are rounded to."""
        return {"size": self._sizes.dense, "colbert_size": self._sizes.colbert, **self._about}

    def batching(self) -> M3Batching:
        """How calls of `encode` run together."""
        return M3Batching(self)

    def canary(self) -> dict[str, Any]:
        """A first call to make."""
        return {"method": "encode", "args": ([*_PROBE],), "kwargs": {"sparse": True, "colbert": True}}

    def warmup(self) -> dict[str, Any] | None:
        """On a GPU a call that needs as much memory as any: it keeps the most that it has once had."""
        if self._device == CPU:
            return None
        kwargs = {"max_length": self._longest, "sparse": True, "colbert": True}
        return {"method": "encode", "args": (self.filling(self._longest),), "kwargs": kwargs}

    # -- steps -----------------------------------------------------------------------------------------

    def asked(
        self,
        texts: Sequence[Text],
        max_length: int | None = None,
        dense: bool = True,
        sparse: bool = False,
        colbert: bool = False,
        normalize: bool = True,
        truncate_dim: int | None = None,
        *,
        empty: Empty = np.empty,
    ) -> Asked:
        """A call of `encode` before its run. Raises what `encode` does."""
        if not (dense or sparse or colbert):
            raise BadArgument("nothing is wanted: say dense, sparse or colbert")
        rows = self.rows(texts, max_length)
        wanted = Wanted(dense, sparse, colbert, normalize, truncate_dim)
        return Asked(rows, Results([len(row.ids) for row in rows], wanted, self._sizes, empty))

    def rows(self, texts: Sequence[Text], max_length: int | None) -> list[Row]:
        """Texts, tokenised. Raises what `encode` does."""
        texts = [texts] if isinstance(texts, str) else texts
        rows = self._tokens.rows(texts, max_length)
        longest = max((len(row.ids) for row in rows), default=0)
        if self._positions is not None and longest > self._positions:
            raise RuntimeError(
                f"a text has {longest} tokens, and the model has positions for {self._positions}: "
                f"give a max_length of at most {self._positions}"
            )
        return rows

    def run(self, asked: Sequence[Asked]) -> None:
        """Fill in the results of calls, whosever they are."""
        places = [(one.results, place, row) for one in asked for place, row in enumerate(one.rows)]
        for _ in self._each(places, [len(row.ids) for _, _, row in places], self._put):
            pass
        for one in asked:
            one.results.scaled()

    def _put(self, places: Sequence[tuple[Results, int, Row]]) -> list[bool]:
        rows = [row for _, _, row in places]
        outputs = self._outputs(rows, all_outputs([results.wanted for results, _, _ in places]))
        for number, (results, place, row) in enumerate(places):
            results.put(place, number, row.ids, outputs, self._unused)
        return [True] * len(places)

    def _outputs(self, rows: Sequence[Row], wanted: Collection[str]) -> Any:
        return self._opened().outputs(padded(rows, self._tokens.pad), wanted)

    def _measured(self) -> Sizes:
        found = self._outputs(self.rows(_PROBE, None), OUTPUTS)
        return Sizes(found["dense"].shape[1], found["colbert"].shape[2])


def _unused(folder: str, tokens: Tokens) -> Array:
    """The ids of tokens without a weight."""
    told = {**read_json(folder, "tokenizer_config.json"), **read_json(folder, "special_tokens_map.json")}
    names = [told.get(key, usual) for key, usual in _UNUSED.items()]
    ids = [tokens.id_of(name["content"] if isinstance(name, dict) else name) for name in names if name is not None]
    return np.array([each for each in ids if each is not None], np.int64)
