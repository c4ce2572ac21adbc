"""Which model the arguments of a SentenceTransformer mean."""

from __future__ import annotations

import os
from typing import Any, Final

from sharedmodel.client.backing import Wanted, file_path, on_hub
from sharedmodel.client.refusing import refuse

_ORGANIZATION: Final = "sentence-transformers"
# How names on the hub without an organisation begin, which are no short names of sentence-transformers' own.
_BARE: Final = (
    "albert-", "bert-base-", "bert-large-", "camembert-base", "distilbert-base-", "distilroberta-base", "gpt2",
    "roberta-base", "roberta-large", "t5-", "xlm-roberta-", "xlnet-",
)  # fmt: skip
_BACKENDS: Final = ("torch", "onnx", "openvino")


def wanted(given: Any, *, revision: str | None, cache_folder: str | None, local_files_only: bool) -> Wanted:
    """A folder here, else a name on the hub. Raises FileNotFoundError for a path where nothing is."""
    if given is None or given == "":
        refuse("SentenceTransformer() without a model", "name one, by a folder or by its name on the hub")
    if isinstance(given, os.PathLike):
        given = os.fspath(given)
    if not isinstance(given, str):
        raise AttributeError(f"{type(given).__name__!r} object has no attribute 'count'")
    if os.path.exists(given):
        return Wanted.of("embedder", {}, {"path": file_path(given)})
    if given.count("/") > 1:
        raise FileNotFoundError(f"Path {given} not found")
    name = given if "/" in given or given.lower().startswith(_BARE) else f"{_ORGANIZATION}/{given}"
    return Wanted.of("embedder", on_hub(name, revision, cache_folder, local_files_only), {})


def check_rest(device: Any, backend: Any, rest: dict[str, Any]) -> None:
    """Raises for arguments that would make another model than the host has: ValueError, or NotImplementedError."""
    if backend not in _BACKENDS:
        raise ValueError(f"Unsupported backend {backend!r}. `backend` should be `torch`, `onnx`, or `openvino`.")
    if backend == "openvino":
        refuse(
            "SentenceTransformer(backend='openvino')", "the host has onnxruntime and PyTorch: its `engine` says which"
        )
    check_device(device, "SentenceTransformer")
    for name, value in rest.items():
        if value:
            refuse(f"SentenceTransformer({name}=...)", "the model is the host's; say it in its configuration")


def check_device(device: Any, what: str) -> None:
    """None, "cpu", or several of them. Raises NotImplementedError for others."""
    for each in device if isinstance(device, list) else [device]:
        if each is not None and str(each).partition(":")[0] != "cpu":
            refuse(
                f"{what}(device={str(each)!r})",
                "where the model runs is the host's choice: `providers` in its configuration",
            )
