"""TextEmbedding: looks like fastembed's, and is an address and a name."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from sharedmodel.client.backing import Backing, Wanted, about, file_path
from sharedmodel.client.onnxruntime.capi.onnxruntime_pybind11_state import twin_of
from sharedmodel.client.raising import as_the_library
from sharedmodel.tensor import Array

from .custom import Custom, check_file
from .documents import batches, side_by_side, texts_of

_MOST_THREADS = 32


class TextEmbedding:
    """Vectors of documents by a model in the host. Two with equal arguments share one.

    Arguments as `fastembed.TextEmbedding`; ``threads`` and ``enable_cpu_mem_arena`` are the host's affair.
    """

    _custom: ClassVar[dict[str, Custom]] = {}

    def __init__(
        self,
        model_name: str = "BAAI/bge-small-en-v1.5",
        cache_dir: str | None = None,
        threads: int | None = None,
        providers: Any = None,
        cuda: Any = "auto",
        device_ids: list[int] | None = None,
        lazy_load: bool = False,
        **kwargs: Any,
    ) -> None:
        if threads is not None and not isinstance(threads, int):
            raise TypeError(f"threads is a number, not {type(threads).__name__}")
        self.model_name = model_name
        self.cache_dir = cache_dir
        self.threads = threads
        found = self._custom.get(model_name.lower())
        options: dict[str, Any] = {"fastembed": model_name} if found is None else found.options()
        path = kwargs.get("specific_model_path")
        if path:
            check_file(os.fspath(path))
        if found is not None and path:
            found.check_there(os.fspath(path))
        elif found is not None:
            options["name"] = found.hub_name()
        elif cache_dir is not None:
            options["cache_folder"] = os.path.abspath(cache_dir)
        if kwargs.get("local_files_only"):
            options["local_files_only"] = True
        if named := _providers(providers, cuda):
            options["providers"] = named
        self._wanted = Wanted.of("embedder", options, {"path": file_path(path)} if path else {})
        self._backing: Backing | None = None
        if not lazy_load:
            self._call("card")

    @classmethod
    def list_supported_models(cls) -> list[dict[str, Any]]:
        """fastembed's list, as the host has it, and one's own models."""
        listed: list[dict[str, Any]] = about("embedder")["fastembed"]
        return [*listed, *(custom.described() for custom in cls._custom.values())]

    @classmethod
    def add_custom_model(
        cls,
        model: str,
        pooling: Any,
        normalization: bool,
        sources: Any,
        dim: int,
        model_file: str = "onnx/model.onnx",
        description: str = "",
        license: str = "",
        size_in_gb: float = 0.0,
        additional_files: list[str] | None = None,
        output_name: str | None = None,
    ) -> None:
        """Tell of a model of one's own, in this process. Raises ValueError for a name that there is."""
        if any(listed["model"].lower() == model.lower() for listed in cls.list_supported_models()):
            raise ValueError(
                f"Model {model} is already registered in TextEmbedding, if you still want to add this model, "
                f"please use another model name"
            )
        cls._custom[model.lower()] = Custom(
            model, sources, model_file, description, license, size_in_gb, additional_files or [], dim, pooling,
            normalization, output_name,
        )  # fmt: skip

    @classmethod
    def get_embedding_size(cls, model_name: str) -> int:
        """How many numbers a model's vectors have. Raises ValueError for a model that there is not."""
        listed = cls.list_supported_models()
        for model in listed:
            if model["model"].lower() == model_name.lower():
                return int(model["dim"])
        names = [model["model"] for model in listed]
        raise ValueError(f"Embedding size for model {model_name} was None. Available model names: {names}")

    @property
    def embedding_size(self) -> int:
        """How many numbers a vector has."""
        return int(self._call("card")["size"])

    def embed(
        self, documents: str | Iterable[str], batch_size: int = 256, parallel: int | None = None, **kwargs: Any
    ) -> Iterator[Array]:
        """Vectors, one for each document, as they are made.

        ``batch_size`` documents are taken at a time, ``parallel`` calls are on their way at once (0: as
        many as there are processors).
        """
        small = isinstance(documents, str)
        given = [documents] if isinstance(documents, str) else documents
        small = small or (isinstance(given, list) and len(given) < batch_size)
        width = 1 if parallel is None or small else parallel or os.cpu_count() or 1
        calls = (texts for batch in batches(given, batch_size) for texts in texts_of(batch))
        if width == 1:
            for texts in calls:
                yield from self._call("embed", texts)
        else:
            for vectors in side_by_side(calls, self._embed, min(width, _MOST_THREADS)):
                yield from vectors

    def query_embed(self, query: str | Iterable[str], **kwargs: Any) -> Iterator[Array]:
        """Vectors of queries: of one, or of several."""
        yield from self.embed([query] if isinstance(query, str) else query, **kwargs)

    def passage_embed(self, texts: Iterable[str], **kwargs: Any) -> Iterator[Array]:
        """Vectors of passages."""
        yield from self.embed(texts, **kwargs)

    def token_count(self, texts: str | Iterable[str], batch_size: int = 1024, **kwargs: Any) -> int:
        """How many tokens the texts are, together."""
        given = [texts] if isinstance(texts, str) else texts
        calls = (part for batch in batches(given, batch_size) for part in texts_of(batch))
        return sum(int(self._call("count", part)) for part in calls)

    def _embed(self, texts: list[Any]) -> Array:
        found: Array = self._call("embed", texts)
        return found

    def _call(self, method: str, *args: Any) -> Any:
        with as_the_library(twin_of):
            if self._backing is None:
                self._backing = Backing(self._wanted)
            return self._backing.call(lambda model: getattr(model, method)(*args))

    def __getattr__(self, name: str) -> Any:
        if name == "model":
            raise AttributeError("TextEmbedding.model is in the host and not carried by this stand-in")
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __repr__(self) -> str:
        return f"<TextEmbedding in the host: {self._wanted.name}>"


def _providers(providers: Any, cuda: Any) -> list[str]:
    """Execution providers for the host; none: its own."""
    if providers is None:
        wished = cuda is True or str(getattr(cuda, "value", cuda)) == "cuda"
        return ["CUDAExecutionProvider"] if wished else []
    named = [provider if isinstance(provider, str) else provider[0] for provider in providers]
    return [] if named == ["CPUExecutionProvider"] else named
