"""Which model the arguments of an InferenceSession mean."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from sharedmodel.client.backing import Wanted, file_path
from sharedmodel.outside import refers_outside

from .capi.onnxruntime_pybind11_state import raised
from .options import SessionOptions

_FOLDER = "session.model_external_initializers_file_folder_path"


def of_file(path: str, options: dict[str, Any]) -> Wanted:
    """A model in a file. Raises NoSuchFile, as onnxruntime does."""
    if not path:
        raise TypeError("the path of a model is empty")
    if not os.path.exists(path):
        raise raised(
            "NoSuchFile",
            f"[ONNXRuntimeError] : 3 : NO_SUCHFILE : Load model from {path} failed:"
            f"Load model {path} failed. File doesn't exist",
        )
    return Wanted.of("onnx", options, {"path": file_path(path)})


def of_bytes(data: bytes, options: dict[str, Any]) -> Wanted:
    """A model that is given as bytes. Weights outside of it lie in the working directory of this process."""
    options = {**options, "in_memory": True}
    if refers_outside(data) and _FOLDER not in options.get("config", {}):
        options["config"] = {**options.get("config", {}), _FOLDER: os.getcwd()}
    return Wanted.of("onnx", options, {}, ("path", data))


def carried(
    options: SessionOptions | None, providers: dict[str, Any], disabled: Iterable[str] | None
) -> dict[str, Any]:
    """The options of the model."""
    found = {**(options.carried() if options is not None else {}), **providers}
    if disabled:
        found["disabled_optimizers"] = sorted(disabled)
    return found
