"""SentenceTransformer: looks like the library's, and is an address, a name and a few attributes of its own."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sharedmodel.client.front import Placed

from . import similarity
from .absent import ATTRIBUTES, Absent
from .encoding import Encoding
from .wanting import check_device, check_rest, wanted

_ENDLESS: Final = 10**20
_MOST: Final = 1 << 60  # which the host takes for no limit, as the library does what is longer than the above


class SentenceTransformer(Encoding, Absent, Placed):
    """Vectors of texts by a model in the host. Two with equal arguments share one.

    Arguments as `sentence_transformers.SentenceTransformer`; those that would change the model itself, or where
    it runs, raise NotImplementedError.
    """

    _function: str | None = None

    def __init__(
        self,
        model_name_or_path: Any = None,
        *,
        modules: Any = None,
        device: Any = None,
        prompts: dict[str, str] | None = None,
        default_prompt_name: str | None = None,
        cache_folder: str | None = None,
        trust_remote_code: bool = False,
        revision: str | None = None,
        local_files_only: bool = False,
        token: Any = None,
        use_auth_token: Any = None,
        model_kwargs: dict[str, Any] | None = None,
        processor_kwargs: dict[str, Any] | None = None,
        tokenizer_kwargs: dict[str, Any] | None = None,
        config_kwargs: dict[str, Any] | None = None,
        model_card_data: Any = None,
        backend: str = "torch",
        similarity_fn_name: Any = None,
        truncate_dim: int | None = None,
    ) -> None:
        self.similarity_fn_name = similarity_fn_name
        given = {**(prompts or {})} if prompts is None or isinstance(prompts, dict) else dict(**prompts)
        check_rest(device, backend, {
            "modules": modules, "trust_remote_code": trust_remote_code, "token": token,
            "use_auth_token": use_auth_token, "model_kwargs": model_kwargs, "config_kwargs": config_kwargs,
            "processor_kwargs": processor_kwargs or tokenizer_kwargs,
        })  # fmt: skip
        found = wanted(
            model_name_or_path, revision=revision, cache_folder=cache_folder, local_files_only=local_files_only
        )
        card = self._obtained(found)
        self._size: int = card["size"]
        self._own_length: int = card["max_length"]
        self._length: Any = card["max_length"]
        self._include_prompt: bool | None = None
        self.truncate_dim = card.get("truncate_dim") if truncate_dim is None else truncate_dim
        if similarity_fn_name is None:
            self.similarity_fn_name = card.get("similarity_fn_name")
        self.prompts: dict[str, str] = {"query": "", "document": "", **card.get("prompts", {}), **given}
        self.default_prompt_name = default_prompt_name or card.get("default_prompt_name")
        if self.default_prompt_name is not None and self.default_prompt_name not in self.prompts:
            raise ValueError(
                f"Default prompt name '{self.default_prompt_name}' not found in the configured prompts "
                f"dictionary with keys {list(self.prompts)!r}."
            )

    # -- what may be set ---------------------------------------------------------------------------------

    @property
    def max_seq_length(self) -> Any:
        """How many tokens of a text count. May be set: it is this object's own and goes with its calls."""
        return self._length

    @max_seq_length.setter
    def max_seq_length(self, value: Any) -> None:
        self._length = value

    def _max_length(self) -> int | None:
        """For a call; None: the model's own. Raises what the library does for a length that is none."""
        value = self._length
        if value == self._own_length:
            return None
        if value > _ENDLESS:
            return _MOST
        if operator.index(value) < 0:
            raise OverflowError("can't convert negative int to unsigned")
        return min(operator.index(value), _MOST)

    def get_max_seq_length(self) -> Any:
        """The same as `max_seq_length`."""
        return self._length

    @property
    def similarity_fn_name(self) -> str:
        """The function of `similarity`: "cosine" unless another is set."""
        return self._function or "cosine"

    @similarity_fn_name.setter
    def similarity_fn_name(self, value: Any) -> None:
        self._function = similarity.checked(value, type(self).__name__)

    def set_pooling_include_prompt(self, include_prompt: bool) -> None:
        """Whether a prompt's tokens are pooled with the others; of this object's calls."""
        self._include_prompt = bool(include_prompt)

    @contextmanager
    def truncate_embeddings(self, truncate_dim: int | None) -> Iterator[None]:
        """Within it, vectors are cut to so many numbers."""
        before, self.truncate_dim = self.truncate_dim, truncate_dim
        try:
            yield
        finally:
            self.truncate_dim = before

    @contextmanager
    def truncate_sentence_embeddings(self, truncate_dim: int | None) -> Iterator[None]:
        """The old name of `truncate_embeddings`."""
        _renamed("truncate_sentence_embeddings", "truncate_embeddings")
        with self.truncate_embeddings(truncate_dim):
            yield

    # -- what may be asked -------------------------------------------------------------------------------

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """A tensor (n, m): each of the one beside each of the other."""
        return similarity.similarity(self.similarity_fn_name, embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """A tensor (n): pair by pair."""
        return similarity.pairwise(self.similarity_fn_name, embeddings1, embeddings2)

    def get_embedding_dimension(self) -> int:
        """How many numbers a vector has."""
        return self._size if self.truncate_dim is None else min(self._size, self.truncate_dim)

    def get_sentence_embedding_dimension(self) -> int:
        """The old name of `get_embedding_dimension`."""
        _renamed("get_sentence_embedding_dimension", "get_embedding_dimension")
        return self.get_embedding_dimension()

    @property
    def modalities(self) -> list[str]:
        """Text."""
        return ["text"]

    def supports(self, modality: Any) -> bool:
        """Whether it is text."""
        return bool(modality == "text")

    def get_backend(self) -> str:
        """As it was asked for: the library's own default."""
        return "torch"

    def get_model_kwargs(self) -> list[str]:
        """No further arguments of `encode`."""
        return []

    def to(self, device: Any = None) -> SentenceTransformer:
        """Nothing to do for "cpu"; raises NotImplementedError for others."""
        check_device(device, "SentenceTransformer.to")
        return self

    def __getattr__(self, name: str) -> Any:
        if name in ATTRIBUTES:
            raise AttributeError(f"SentenceTransformer.{name} is not carried by this stand-in: {ATTRIBUTES[name]}")
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")


def _renamed(old: str, new: str) -> None:
    warnings.warn(f"The `{old}` method has been renamed to `{new}`.", FutureWarning, stacklevel=3)
