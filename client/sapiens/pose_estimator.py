"""PoseEstimator: an address and a name; the graph runs in the host, everything around it here."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np

from sharedmodel.client.backing import Wanted, file_path
from sharedmodel.client.front import StandIn
from sharedmodel.client.model import Model
from sharedmodel.client.raising import as_the_library
from sharedmodel.tensor import Array

from .decoding import keypoints_of
from .pictures import Frame, frames, picture, scaled


class Poses(NamedTuple):
    """Of each box. ``keypoints`` (boxes, keypoints, 2): x and y in pixels of the picture, (-1, -1) for one that is
    nowhere; ``scores`` (boxes, keypoints): how high its heat map is there. Both float32."""

    keypoints: Array
    scores: Array


class PoseEstimator(StandIn):
    """Keypoints of people, 133 by Sapiens' models of COCO-WholeBody. Two with equal arguments share one model.

    model       a torchscript or an ONNX file: images (rows, 3, height, width) to heat maps
    height, width   of the model's images, where the file does not say
    batch_size  boxes in one run; one by one, others' boxes come in between. An object's own
    """

    def __init__(
        self, model: str | os.PathLike[str], *, height: int = 1024, width: int = 768, batch_size: int = 1
    ) -> None:
        if not isinstance(model, str | os.PathLike):
            raise TypeError(f"model is a torchscript or an ONNX file, not {type(model).__name__}")
        if not os.path.isfile(model):
            raise FileNotFoundError(f"no such file: {os.fspath(model)}")
        if batch_size < 1:
            raise ValueError(f"batch_size is 1 or more, not {batch_size}")
        sizes = {name: size for name, size, usual in (("height", height, 1024), ("width", width, 768)) if size != usual}
        card = self._obtained(Wanted.of("sapiens", sizes, {"path": file_path(model)}))
        self._shape: tuple[int, int] = tuple(card["image"])
        self._most: int | None = card["rows"]
        self.keypoints: int = card["keypoints"]
        self.batch_size = batch_size

    def estimate(self, image: Any, boxes: Any = None) -> Poses:
        """The poses in a picture: a path, a PIL image, or an array (height, width, 3) of uint8, BGR as OpenCV has it.

        ``boxes``: (n, 4) of x1, y1, x2, y2 in pixels, such as a person detector's; None: the whole picture. Raises
        TypeError, ValueError or FileNotFoundError for what is no picture, ValueError for what is no box.
        """
        seen = picture(image)
        wanted = frames(boxes, seen)
        places = np.empty((len(wanted), self.keypoints, 2), np.float32)
        scores = np.empty((len(wanted), self.keypoints), np.float32)
        size = self._most or self.batch_size
        for start in range(0, len(wanted), size):
            some = wanted[start : start + size]
            for number, (heatmap, frame) in enumerate(zip(self._heatmaps(seen, some), some, strict=True), start):
                places[number], scores[number] = keypoints_of(heatmap, frame)
        return Poses(places, scores)

    __call__ = estimate

    def _heatmaps(self, image: Array, wanted: list[Frame]) -> Array:
        """(frames, keypoints, height, width), in shared memory."""

        def run(model: Model) -> Array:
            images = model.empty((len(wanted), 3, *self._shape), np.float32)
            for frame, out in zip(wanted, images, strict=True):
                scaled(image, frame, out)
            found: Array = model.heatmaps(images)
            return found

        with as_the_library(self._twin):
            return self._backing.call(run)
