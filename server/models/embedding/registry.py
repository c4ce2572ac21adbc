"""The models that fastembed knows by name: where their files are, and how their tokens are pooled.

fastembed itself is imported for its list and what it does with files only; its sessions are never made, and what
it takes from the hub comes as all models do (see `hub`).
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from .. import hub
from ..hub_failures import offline

# What it takes of any model besides its graph.
_FILES: Final = (
    "config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "preprocessor_config.json",
)  # fmt: skip


class Entry(NamedTuple):
    """One model: its graph and what to do with what comes of it."""

    model_file: str
    pooling: str
    normalize: bool
    output: int
    description: Any


# What fastembed's classes do with a graph's outputs: pooling, scaling, which output.
_CLASSES: Final[Mapping[str, tuple[str, bool, int]]] = MappingProxyType(
    {
        "OnnxTextEmbedding": ("cls", True, 0),
        "CLIPOnnxEmbedding": ("none", False, 0),
        "PooledNormalizedEmbedding": ("mean", True, 0),
        "PooledEmbedding": ("mean", False, 0),
        "BuiltinSentenceEmbedding": ("none", False, 1),
        "LastTokenNormalizedEmbedding": ("lasttoken", True, 0),
    }
)


def entry(name: str) -> Entry:
    """A model of fastembed's list. Raises ValueError, as fastembed does, and NotImplementedError for a kind of
    model that is not carried."""
    for cls in _library().EMBEDDINGS_REGISTRY:
        for description in cls._list_supported_models():
            if description.model.lower() == name.lower():
                if cls.__name__ not in _CLASSES:
                    raise NotImplementedError(f"fastembed's {name} ({cls.__name__}) is not carried by this adapter")
                return Entry(description.model_file, *_CLASSES[cls.__name__], description)
    raise ValueError(
        f"Model {name} is not supported in TextEmbedding. "
        "Please check the supported models using `TextEmbedding.list_supported_models()`"
    )


def folder_of(found: Entry, cache: str | None, *, local_only: bool) -> str:
    """Where a model's files are, downloaded where the host may. Raises ValueError or OSError where there are none."""
    forbidden = offline()
    place = str(_cache(cache))
    if not local_only and not forbidden and (wanted := repository(found, cache)) is not None:
        if hub.cached(wanted) is None:
            hub.from_hub(wanted)
        local_only = True  # fastembed finds it there, and does what else it does
    try:
        return str(_library().download_model(found.description, place, local_files_only=local_only))
    except ValueError as exc:
        if not forbidden:
            raise
        raise ValueError(f"{exc} {forbidden}") from exc


def repository(found: Entry, cache: str | None) -> hub.Repository | None:
    """What fastembed takes from the hub for a model; None for one that it has from elsewhere."""
    description = found.description
    if not description.sources.hf or description.sources.url:
        return None
    files = (*_FILES, description.model_file, *description.additional_files)
    return hub.Repository(description.sources.hf, cache=str(_cache(cache)), left_out=(), allowed=files)


@functools.cache
def supported() -> list[dict[str, Any]]:
    """fastembed's list, as it gives it itself; an empty one where fastembed is not installed."""
    if importlib.util.find_spec("fastembed") is None:
        return []
    listed: list[dict[str, Any]] = _library().list_supported_models()
    return listed


def _library() -> Any:
    from fastembed import TextEmbedding

    return TextEmbedding


def _cache(given: str | None) -> Any:
    from fastembed.common.utils import define_cache_dir

    return define_cache_dir(given)
