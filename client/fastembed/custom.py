"""Models of one's own, as `TextEmbedding.add_custom_model` is told of them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any, Final

from sharedmodel.client.onnxruntime.capi.onnxruntime_pybind11_state import raised
from sharedmodel.client.refusing import refuse

_POOLING: Final = {"CLS": "cls", "MEAN": "mean", "LAST_TOKEN": "lasttoken", "DISABLED": "none"}


@dataclass(frozen=True)
class Custom:
    """One of them; ``sources`` is a ModelSource, ours or fastembed's."""

    model: str
    sources: Any
    model_file: str
    description: str
    license: str
    size_in_GB: float
    additional_files: list[str]
    dim: int
    pooling: str
    normalization: bool
    output_name: str | None = None
    tasks: dict[str, Any] = field(default_factory=dict)

    def described(self) -> dict[str, Any]:
        """As in fastembed's list."""
        sources = {"hf": self.sources.hf, "url": self.sources.url}
        old = bool(getattr(self.sources, "deprecated_tar_struct", False))
        names = ("model_file", "description", "license", "size_in_GB", "additional_files", "dim", "tasks")
        told = {name: getattr(self, name) for name in names}
        return {"model": self.model, "sources": {**sources, "_deprecated_tar_struct": old}, **told}

    def options(self) -> dict[str, Any]:
        """For the host's adapter. Raises ValueError for a way of pooling that there is not."""
        name = str(getattr(self.pooling, "value", self.pooling))
        if name not in _POOLING:
            raise ValueError(f"Unsupported pooling type {name}. Supported types are: {', '.join(_POOLING)}.")
        found: dict[str, Any] = {"pooling": _POOLING[name], "normalize": bool(self.normalization)}
        found["model_file"] = self.model_file
        return found if self.output_name is None else {**found, "output": self.output_name}

    def hub_name(self) -> str:
        """Where to download it from. Raises NotImplementedError for an archive at a URL."""
        if self.sources.hf is None:
            refuse("a model with the source ModelSource(url=...)", "download it, and give specific_model_path")
        return str(self.sources.hf)

    def check_there(self, folder: str) -> None:
        """Raises NoSuchFile, as onnxruntime does for fastembed."""
        check_file(os.path.join(folder, self.model_file))


def check_file(path: str) -> None:
    """Raises NoSuchFile, in onnxruntime's words."""
    if not os.path.exists(path):
        raise raised(
            "NoSuchFile",
            f"[ONNXRuntimeError] : 3 : NO_SUCHFILE : Load model from {path} failed:"
            f"Load model {path} failed. File doesn't exist",
        )
