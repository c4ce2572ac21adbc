"""Pose estimation by a model of heat maps, such as Sapiens': images in, a heat map for each keypoint out.

The host runs the graph, and nothing else: cutting boxes out of a picture, scaling, and finding keypoints in heat maps
are the caller's (`sharedmodel.client.sapiens`). These take some 30 ms of a processor a box of Sapiens', in hundreds
of small steps that take the interpreter's lock; in the host they would stand in the way of every other model, in
the callers they run beside each other. What is to cross for that lies in shared memory: images are written there
by the caller and read in place, heat maps (26 MB a box) are written by onnxruntime where the caller reads them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from sharedmodel.errors import BadArgument
from sharedmodel.tensor import Array

from .onnx import OnnxModel
from .pose_export import exported, is_torchscript


class SapiensModel:
    """One loaded model. Safe to call from many threads at once.

    path        a torchscript, of which a graph is made once, in a process of its own; or an ONNX file
    height, width   of its images, where the file does not say: those of Sapiens
    threads     processors that one run may use; None takes every one that this process may
    providers   onnxruntime's execution providers, in order of preference
    device      "cpu", or a GPU that onnxruntime-gpu can use: the server says which, by the model's key `device`
    device_memory   most bytes of it that an arena may take; without: what the server may use of it
    """

    def __init__(
        self,
        path: str,
        *,
        height: int = 1024,
        width: int = 768,
        threads: int | None = None,
        providers: Sequence[str] = ("CPUExecutionProvider",),
        device: str = "cpu",
        device_memory: int | None = None,
    ) -> None:
        if height < 1 or width < 1:
            raise BadArgument(f"images of {height} x {width}: height and width are numbers of pixels")
        if not os.path.isfile(path):
            raise FileNotFoundError(f"no such file: {path}")
        graph = exported(path, height, width) if is_torchscript(path) else path
        self._model = OnnxModel(graph, threads=threads, providers=providers, device=device, device_memory=device_memory)
        self._input, self._shape = self._taken((3, height, width))
        found = self.heatmaps(np.zeros((1, *self._shape[1:]), np.float32))
        self._keypoints, self._size = found.shape[1], found.shape[2:]

    def heatmaps(self, images: Array) -> Array:
        """Heat maps (rows, keypoints, …, …) of images (rows, 3, height, width): RGB, scaled, float32."""
        found = self._model.run(None, {self._input: images})[0]
        if not isinstance(found, np.ndarray) or found.ndim != 4:
            raise ValueError(f"the model gives {np.shape(found)}; heat maps are (rows, keypoints, height, width)")
        return found

    def card(self) -> dict[str, Any]:
        """Sizes of its images and of its heat maps, how many keypoints it knows, and images that it takes at once
        (None: any number)."""
        return {
            "image": list(self._shape[2:]),
            "heatmap": list(self._size),
            "keypoints": self._keypoints,
            "rows": self._shape[0],
        }

    def canary(self) -> dict[str, Any]:
        """A first call to make: a black image."""
        return {"method": "heatmaps", "args": (np.zeros((1, *self._shape[1:]), np.float32),)}

    def shrink(self) -> None:
        """Have the next run give back memory that the library holds and does not use."""
        self._model.shrink()

    def close(self) -> None:
        """Lets the model go. Calls that are running keep it until they are done."""
        self._model.close()

    def _taken(self, usual: tuple[int, int, int]) -> tuple[str, tuple[Any, int, int, int]]:
        """The name of its input, and its shape; rows None: any number."""
        inputs = self._model.get_inputs()
        shape: list[Any] = inputs[0]["shape"] if len(inputs) == 1 else []
        right = len(shape) == 4 and inputs[0]["type"] == "tensor(float)"
        if not right or (isinstance(shape[1], int) and shape[1] != 3):
            told = [(one["name"], one["type"], one["shape"]) for one in inputs]
            raise ValueError(f"no pose model: it takes {told}, and not one tensor(float) of [rows, 3, height, width]")
        sizes = [given if isinstance(given, int) else size for given, size in zip(shape[1:], usual, strict=True)]
        rows = shape[0] if isinstance(shape[0], int) else None
        if rows not in (None, 1):
            raise ValueError(f"the model takes {rows} images at once, and neither one nor any number")
        return str(inputs[0]["name"]), (rows, sizes[0], sizes[1], sizes[2])
