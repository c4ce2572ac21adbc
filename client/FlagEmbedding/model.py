"""BGEM3FlagModel: looks like the library's, and is an address, a name and a few attributes of its own."""

from __future__ import annotations

import operator
from typing import Any, Final

import numpy as np

from sharedmodel.client.front import StandIn
from sharedmodel.client.refusing import refuse, refused
from sharedmodel.client.texts import length, parts

from .finishing import Gathered, Weights, matching_score, scores_of
from .inputs import batches, check_rest, checked, detailed, instructed, texts_of
from .wanting import devices as devices_of
from .wanting import wanted

_IN_HOST: Final = ("model", "tokenizer")
_POOL: Final = "the host serves any number of processes"
_MOST: Final = 1 << 60  # which the host takes for no limit


class BGEM3FlagModel(StandIn):
    """Dense, lexical and ColBERT vectors of texts by a model in the host. Two with equal arguments share one.

    Arguments as `FlagEmbedding.BGEM3FlagModel`; those that would change where the model runs raise
    NotImplementedError.
    """

    def __init__(
        self,
        model_name_or_path: Any,
        normalize_embeddings: bool = True,
        use_fp16: bool = True,
        use_bf16: bool = False,
        query_instruction_for_retrieval: str | None = None,
        query_instruction_format: str = "{}{}",
        devices: Any = None,
        pooling_method: str = "cls",
        trust_remote_code: bool = False,
        cache_dir: str | None = None,
        colbert_dim: int = -1,
        batch_size: int = 256,
        query_max_length: int | None = 512,
        passage_max_length: int | None = 512,
        return_dense: bool = True,
        return_sparse: bool = False,
        return_colbert_vecs: bool = False,
        truncate_dim: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.target_devices = devices_of(devices)
        if trust_remote_code:
            refuse("BGEM3FlagModel(trust_remote_code=True)", "the host runs no code that a model brings along")
        self.model_name_or_path = model_name_or_path
        self.normalize_embeddings = normalize_embeddings
        self.use_fp16 = use_fp16
        self.use_bf16 = use_bf16
        self.query_instruction_for_retrieval = query_instruction_for_retrieval
        self.query_instruction_format = query_instruction_format
        self.pooling_method = pooling_method
        self.batch_size = batch_size
        self.query_max_length = query_max_length
        self.passage_max_length = passage_max_length
        self.return_dense = return_dense
        self.return_sparse = return_sparse
        self.return_colbert_vecs = return_colbert_vecs
        self.truncate_dim = truncate_dim
        self.convert_to_numpy = True
        self.pool = None
        self.kwargs = kwargs
        self.__dict__.update(kwargs)
        means = wanted(
            model_name_or_path, half=bool(use_fp16), brain=bool(use_bf16), pooling=pooling_method, cache=cache_dir
        )
        card = self._obtained(means)
        self._normalize = bool(normalize_embeddings)
        self._own_length: int = card["max_length"]
        if 0 < colbert_dim != card["colbert_size"]:
            raise RuntimeError(
                "Error(s) in loading state_dict for Linear: size mismatch: the model's ColBERT vectors have "
                f"{card['colbert_size']} numbers, not {colbert_dim}"
            )

    # -- encoding ----------------------------------------------------------------------------------------

    def encode(
        self,
        sentences: Any,
        batch_size: int | None = None,
        max_length: int | None = None,
        return_dense: bool | None = None,
        return_sparse: bool | None = None,
        return_colbert_vecs: bool | None = None,
        *,
        convert_to_numpy: bool | None = None,
        instruction: str | None = None,
        instruction_format: Any = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Of texts, or of one: {"dense_vecs": (n, size), "lexical_weights": [{token's id: weight}], "colbert_vecs":
        [(tokens - 1, size)]}, each None where it is not wanted. Texts are cut to ``max_length`` tokens.
        """
        size = self.batch_size if batch_size is None else batch_size
        most = self.passage_max_length if max_length is None else max_length
        chosen = {
            "dense": bool(self.return_dense if return_dense is None else return_dense),
            "sparse": bool(self.return_sparse if return_sparse is None else return_sparse),
            "colbert": bool(self.return_colbert_vecs if return_colbert_vecs is None else return_colbert_vecs),
        }
        given = instructed(sentences, instruction, instruction_format)
        single = isinstance(given, str)
        texts = texts_of([given] if single else given, size)
        most = self._length(most)
        check_rest("BGEM3FlagModel.encode", kwargs)
        assert any(chosen.values()), (
            "Must choose one or more from `return_colbert_vecs`, `return_sparse`, `return_dense` to set `True`!"
        )
        found = Gathered(len(texts))
        order = sorted(range(len(texts)), key=lambda place: -length(texts[place]))
        for part in parts([texts[place] for place in order]):
            told = self._call("encode", list(part), most, *chosen.values(), self._normalize, self.truncate_dim)
            found.put(order[: len(part)], told)
            del order[: len(part)]
        return found.formed(chosen, single)

    def encode_queries(
        self, queries: Any, batch_size: int | None = None, max_length: int | None = None, *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        """As `encode`, with the instruction for queries, cut to ``query_max_length``."""
        return self.encode(
            queries, batch_size, self.query_max_length if max_length is None else max_length, *args,
            instruction=self.query_instruction_for_retrieval, instruction_format=self.query_instruction_format,
            **kwargs,
        )  # fmt: skip

    def encode_corpus(
        self, corpus: Any, batch_size: int | None = None, max_length: int | None = None, *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        """As `encode`, with `passage_instruction_for_retrieval` where the constructor was given one."""
        return self.encode(
            corpus, batch_size, max_length, *args,
            instruction=self.kwargs.get("passage_instruction_for_retrieval"),
            instruction_format=self.kwargs.get("passage_instruction_format", "{}{}"),
            **kwargs,
        )  # fmt: skip

    # -- scores ------------------------------------------------------------------------------------------

    def compute_score(
        self,
        sentence_pairs: Any,
        batch_size: int | None = None,
        max_query_length: int | None = None,
        max_passage_length: int | None = None,
        weights_for_different_modes: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Of pairs of texts, or of one: {"colbert", "sparse", "dense", "sparse+dense", "colbert+sparse+dense"}, lists
        of numbers, or a number each."""
        size = self.batch_size if batch_size is None else batch_size
        for name in kwargs:
            refuse(f"BGEM3FlagModel.compute_score({name}=...)", "texts are tokenised in the host")
        if isinstance(sentence_pairs, list) and not sentence_pairs:
            return []
        single = isinstance(sentence_pairs[0], str)
        chosen = batches([sentence_pairs] if single else sentence_pairs, size)
        sides = [[text for batch in chosen for text in checked([pair[side] for pair in batch])] for side in (0, 1)]
        weights = weights_for_different_modes
        assert weights is None or len(weights) == 3
        pairs = [list(pair) for pair in zip(*sides, strict=True)]
        lengths = (
            self._length(self.query_max_length if max_query_length is None else max_query_length),
            self._length(self.passage_max_length if max_passage_length is None else max_passage_length),
        )
        found = [self._call("score", list(part), *lengths, self._normalize) for part in parts(pairs)]
        scores = scores_of(np.concatenate(found), size, weights)
        return {key: values[0] for key, values in scores.items()} if single else scores

    def compute_lexical_matching_score(
        self, lexical_weights_1: Weights | list[Weights], lexical_weights_2: Weights | list[Weights]
    ) -> Any:
        """What two dictionaries of `encode` have in common, a number; of two lists of them an array (n, m)."""
        one, other = lexical_weights_1, lexical_weights_2
        if isinstance(one, dict) and isinstance(other, dict):
            return matching_score(one, other)
        if isinstance(one, list) and isinstance(other, list):
            return np.array([[matching_score(left, right) for right in other] for left in one])
        raise ValueError("The input format of lexical_weights is not correct.")

    def colbert_score(self, q_reps: Any, p_reps: Any) -> Any:
        """How well two texts' vectors (tokens, size) go together: a torch tensor with one number."""
        import torch

        queries, passages = torch.from_numpy(q_reps), torch.from_numpy(p_reps)
        return (queries @ passages.T).max(-1).values.sum() / queries.size(0)

    def convert_id_to_token(self, lexical_weights: Any) -> Any:
        """The dictionaries of `encode`, with texts for tokens' ids; of one, or of a list of one, the dictionary."""
        several = [lexical_weights] if isinstance(lexical_weights, dict) else lexical_weights
        named = [self._named(weights) for weights in several]
        return named[0] if len(named) == 1 else named

    def _named(self, weights: dict[str, Any]) -> dict[str, Any]:
        ids = [int(token) for token in weights]
        if any(each < 0 for each in ids):
            raise OverflowError("number too small to fit in target type")
        return dict(zip(self._call("decode", ids), weights.values(), strict=True)) if ids else {}

    # -- the rest ----------------------------------------------------------------------------------------

    @staticmethod
    def get_detailed_instruct(instruction_format: Any, instruction: str, sentence: str) -> str:
        """One text with an instruction before it."""
        return detailed(instruction_format, instruction, sentence)

    def stop_self_pool(self) -> None:
        """Nothing to do: there is no pool."""

    start_multi_process_pool = refused("BGEM3FlagModel.start_multi_process_pool", _POOL)
    stop_multi_process_pool = refused("BGEM3FlagModel.stop_multi_process_pool", _POOL)
    encode_multi_process = refused("BGEM3FlagModel.encode_multi_process", _POOL)
    encode_single_device = refused("BGEM3FlagModel.encode_single_device", "it is `encode`")
    compute_score_multi_process = refused("BGEM3FlagModel.compute_score_multi_process", _POOL)
    compute_score_single_device = refused("BGEM3FlagModel.compute_score_single_device", "it is `compute_score`")

    def _length(self, most: Any) -> int:
        """For a call. Raises what the library does for a length that is none."""
        if most is None:
            return self._own_length
        if operator.index(most) < 0:
            raise OverflowError("can't convert negative int to unsigned")
        return min(operator.index(most), _MOST)

    def __getattr__(self, name: str) -> Any:
        if name in _IN_HOST:
            raise AttributeError(f"BGEM3FlagModel.{name} is in the host and not carried by this stand-in")
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
