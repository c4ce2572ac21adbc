"""`encode` and its kin: a call to the host for each batch, longest texts first, and what is made of the vectors.

Batches are the caller's `batch_size`, sent in parts where they are large: other callers' texts come in between
them, and the host packs what waits into runs of its own.
"""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np

from sharedmodel.client.front import StandIn
from sharedmodel.client.refusing import refuse
from sharedmodel.client.texts import Text, length, parts
from sharedmodel.tensor import Array

from . import finishing, progress
from .inputs import is_single, texts_of
from .wanting import check_device

Pool = dict[str, Any]

_DOCUMENTS = ("document", "passage", "corpus")
_MISSING: Any = object()
_KNOWN = {"task", "processing_kwargs"}
_DEPRECATED = (
    "The `encode_multi_process` method has been deprecated, and its functionality has been integrated into `encode`. "
    "You can now call `encode` with the same parameters to achieve multi-process encoding."
)

logger = logging.getLogger("sentence_transformers.base.model")


class Encoding(StandIn):
    """The part of a SentenceTransformer that encodes."""

    prompts: dict[str, str]
    default_prompt_name: str | None
    truncate_dim: int | None
    _include_prompt: bool | None

    def encode(
        self,
        inputs: Any = _MISSING,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        output_value: str | None = "sentence_embedding",
        precision: str | None = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: Any = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        pool: Pool | None = None,
        chunk_size: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Vectors of texts, or of one text: an array (n, size) of float32, tensors if they are asked for.

        Arguments as the library's; ``pool`` and ``chunk_size`` make no difference.
        """
        inputs = self._inputs(inputs, kwargs)
        if output_value is None:
            refuse("encode(output_value=None)", "what lies between text and vector stays in the host")
        if batch_size <= 0:
            raise ValueError(f"batch_size must be a positive integer, got {batch_size}.")
        single = is_single(inputs)
        self._check(kwargs, precision, device, chunk_size if pool is not None or isinstance(device, list) else None)
        prompt = self._prompt(prompt, prompt_name)
        texts = texts_of([inputs] if single else inputs)
        shown = progress.wanted(show_progress_bar)
        if output_value != "sentence_embedding":
            if output_value != "token_embeddings":
                raise KeyError(output_value)
            return self._token_embeddings(texts, prompt, batch_size, shown, single)
        vectors = self._vectors(texts, prompt, batch_size, shown)
        if vectors is not None:
            cut = self.truncate_dim if truncate_dim is None else truncate_dim
            vectors = vectors if cut is None else np.ascontiguousarray(vectors[..., :cut])
            vectors = finishing.scaled(vectors) if normalize_embeddings else vectors
            if precision not in (None, "float32"):
                vectors = finishing.rounded(vectors, str(precision))
        return finishing.formed(vectors, numpy=convert_to_numpy, tensor=convert_to_tensor, single=single)

    def encode_query(
        self, inputs: Any = _MISSING, prompt_name: str | None = None, prompt: str | None = None, **options: Any
    ) -> Any:
        """As `encode`, with the prompt "query" where no other is named."""
        if prompt_name is None and prompt is None and "query" in self.prompts:
            prompt_name = "query"
        return self.encode(inputs, prompt_name, prompt, **{"task": "query", **options})

    def encode_document(
        self, inputs: Any = _MISSING, prompt_name: str | None = None, prompt: str | None = None, **options: Any
    ) -> Any:
        """As `encode`, with the prompt "document", "passage" or "corpus" where no other is named."""
        if prompt_name is None and prompt is None:
            prompt_name = next((name for name in _DOCUMENTS if name in self.prompts), None)
        return self.encode(inputs, prompt_name, prompt, **{"task": "document", **options})

    # -- pools, of which there is no need ------------------------------------------------------------------

    def start_multi_process_pool(self, target_devices: list[str] | None = None) -> Pool:
        """A pool without processes: the host serves all of them."""
        check_device(target_devices, "SentenceTransformer.start_multi_process_pool")
        return {"input": None, "output": None, "processes": []}

    @staticmethod
    def stop_multi_process_pool(pool: Pool) -> None:
        """Nothing to do."""

    def encode_multi_process(self, sentences: Any, pool: Pool, *args: Any, **options: Any) -> Any:
        """The old name of `encode` with a pool; an array."""
        warnings.warn(_DEPRECATED, DeprecationWarning, stacklevel=2)
        names = ("prompt_name", "prompt", "batch_size", "chunk_size", "show_progress_bar", "precision")
        given = dict(zip((*names, "normalize_embeddings", "truncate_dim"), args, strict=False))
        return self.encode(sentences, pool=pool, **given, **options)

    # -- tokens --------------------------------------------------------------------------------------------

    def preprocess(self, inputs: Any, prompt: str | None = None, **kwargs: Any) -> dict[str, Any]:
        """`input_ids`, `token_type_ids` and `attention_mask` as tensors, and what they were made of: "text".

        A plain dict, where the library's is one of transformers' own.
        """
        import torch

        if not inputs:
            return {}
        found = self._call("tokenize", texts_of(inputs), self._max_length(), prompt or "")
        tensors = {name: torch.from_numpy(value) for name, value in found.items() if name != "prompt_length"}
        told = {"prompt_length": found["prompt_length"]} if "prompt_length" in found else {}
        return {**tensors, "modality": "text", **told}

    def tokenize(self, texts: Any, **kwargs: Any) -> dict[str, Any]:
        """The old name of `preprocess`."""
        return self.preprocess(texts, **kwargs)

    # -- the way there -------------------------------------------------------------------------------------

    def _vectors(self, texts: list[Text], prompt: str, batch_size: int, shown: bool) -> Array | None:
        """None where there is no text."""
        out: Array | None = None
        for places, found in self._batches("embed", texts, prompt, batch_size, shown):
            if out is None:
                out = np.empty((len(texts), found.shape[1]), found.dtype)
            out[places] = found
        return out

    def _token_embeddings(self, texts: list[Text], prompt: str, batch_size: int, shown: bool, single: bool) -> Any:
        import torch

        results: list[Any] = [None] * len(texts)
        for places, found in self._batches("token_embeddings", texts, prompt, batch_size, shown):
            for place, states in zip(places, found, strict=True):
                results[place] = torch.from_numpy(states)
        return results[0] if single else results

    def _batches(self, method: str, texts: list[Text], prompt: str, batch_size: int, shown: bool) -> Any:
        order = sorted(range(len(texts)), key=lambda place: -length(texts[place]))
        more = (self._max_length(), prompt, *((self._include_prompt,) if method == "embed" else ()))
        with progress.watched(range(0, len(texts), batch_size), shown) as starts:
            for start in starts:
                places = order[start : start + batch_size]
                for part in parts([texts[place] for place in places]):
                    yield places[: len(part)], self._call(method, list(part), *more)
                    del places[: len(part)]

    def _inputs(self, inputs: Any, kwargs: dict[str, Any]) -> Any:
        """The first argument, which had another name once."""
        if inputs is not _MISSING and "sentences" in kwargs:
            raise TypeError(f"{type(self).__name__}.encode() got multiple values for argument 'inputs'")
        inputs = kwargs.pop("sentences", inputs)
        if inputs is _MISSING:
            raise TypeError(f"{type(self).__name__}.encode() missing 1 required positional argument: 'inputs'")
        return inputs

    def _check(self, kwargs: dict[str, Any], precision: Any, device: Any, chunk_size: int | None) -> None:
        if unused := set(kwargs) - _KNOWN:
            raise ValueError(
                f"{type(self).__name__}.encode() has been called with additional keyword arguments that this model "
                f"does not use: {list(unused)}. As per {type(self).__name__}.get_model_kwargs(), this model does not "
                "accept any additional keyword arguments."
            )
        if kwargs.get("processing_kwargs"):
            refuse("encode(processing_kwargs=...)", "texts are tokenised in the host; set max_seq_length instead")
        if precision is not None and precision not in finishing.PRECISIONS:
            raise ValueError(f"Precision {precision!r} is not supported, must be one of {finishing.PRECISIONS}")
        if chunk_size is not None and chunk_size <= 0:
            raise ValueError(f"chunk_size must be a positive integer, got {chunk_size}.")
        check_device(device, "SentenceTransformer.encode")

    def _prompt(self, prompt: Any, name: str | None) -> str:
        if prompt is None and name is None:
            return self.prompts.get(self.default_prompt_name or "") or ""
        if prompt is None:
            if name not in self.prompts:
                raise ValueError(
                    f"Prompt name '{name}' not found in the configured prompts dictionary "
                    f"with keys {list(self.prompts)!r}."
                )
            return self.prompts[name] or ""
        if name is not None:
            logger.warning("Both `prompt` and `prompt_name` are given: the `prompt_name` is ignored.")
        if prompt and not isinstance(prompt, str):
            raise TypeError(f"unsupported operand type(s) for +: {type(prompt).__name__!r} and 'str'")
        return prompt or ""

    def _max_length(self) -> int | None:
        raise NotImplementedError
