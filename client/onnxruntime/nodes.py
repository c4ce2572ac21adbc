"""What onnxruntime tells of a model: its inputs and outputs, and who made it."""

from __future__ import annotations

from typing import Any


class NodeArg:
    """An input or output: ``name``, ``type`` such as "tensor(float)", ``shape`` with numbers, names and None."""

    __slots__ = ("name", "shape", "type")

    def __init__(self, name: str, shape: list[Any], type: str) -> None:
        self.name = name
        self.shape = shape
        self.type = type

    def __str__(self) -> str:
        return f"NodeArg(name='{self.name}', type='{self.type}', shape={self.shape})"


class ModelMetadata:
    """Who made the model, and what they noted."""

    __slots__ = (
        "custom_metadata_map", "description", "domain", "graph_description", "graph_name", "producer_name", "version",
    )  # fmt: skip

    def __init__(self, **told: Any) -> None:
        self.custom_metadata_map: dict[str, str] = told["custom_metadata_map"]
        self.description: str = told["description"]
        self.domain: str = told["domain"]
        self.graph_description: str = told["graph_description"]
        self.graph_name: str = told["graph_name"]
        self.producer_name: str = told["producer_name"]
        self.version: int = told["version"]
