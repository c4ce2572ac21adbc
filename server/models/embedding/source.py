"""From what names a model to its files: a folder, a name on the hub, a name in fastembed's list."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from sharedmodel.errors import BadArgument

from .. import hub
from . import registry
from .recipe import Recipe, of_folder, of_graph


def recipe_of(
    path: str | None,
    *,
    name: str | None,
    revision: str | None,
    fastembed: str | None,
    pooling: str | None,
    normalize: bool,
    model_file: str,
    output: str | None,
    cache_folder: str | None,
    local_only: bool,
) -> Recipe:
    """The recipe of the model that the options of `EmbedderModel` mean. Raises BadArgument where they mean none,
    OSError or ValueError where its files can't be had."""
    if fastembed is not None:
        found = registry.entry(fastembed)
        folder = path or registry.folder_of(found, cache_folder, local_only=local_only)
        return of_graph(folder, found.model_file, pooling=found.pooling, normalize=found.normalize, output=found.output)
    if path is None:
        if name is None:
            raise BadArgument("say which model it is: `path`, `name` or `fastembed`")
        path = hub.from_hub(hub.Repository(name, revision, _cache(cache_folder)), local_only)
    if pooling is not None:
        return of_graph(path, model_file, pooling=pooling, normalize=normalize, output=output)
    return of_folder(path)


def on_hub(options: Mapping[str, Any]) -> hub.Repository | None:
    """What of the hub the options of `EmbedderModel` mean; None where they name a folder."""
    if options.get("fastembed") is not None:
        place, local_only = options.get("cache_folder"), bool(options.get("local_files_only"))
        known = options.get("path") is not None or local_only
        return None if known else registry.repository(registry.entry(str(options["fastembed"])), place)
    found = hub.wanted(options)
    return None if found is None else found._replace(cache=_cache(found.cache))


def _cache(given: str | None) -> str | None:
    return given or os.environ.get("SENTENCE_TRANSFORMERS_HOME")
