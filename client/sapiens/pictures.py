"""Pictures and boxes, and what the model is given of them."""

from __future__ import annotations

import os
import sys
from typing import Any, Final, NamedTuple

import numpy as np

from sharedmodel.tensor import Array

PADDING: Final = 1.25  # of a box, around its centre
# Of the pictures that the models were trained with, in RGB.
_MEAN: Final = np.array([123.5, 116.5, 103.5], np.float32)
_DEVIATION: Final = np.array([58.5, 57.0, 57.5], np.float32)


class Frame(NamedTuple):
    """The part of a picture that the model sees: its centre and size, each (x, y) in pixels, float64."""

    centre: Array
    size: Array


def picture(given: Any) -> Array:
    """(height, width, 3) of uint8, in BGR as OpenCV has it: an array, a PIL image (RGB), or a file's path.

    Raises TypeError or ValueError for what is no picture, FileNotFoundError for a path where nothing is.
    """
    pillow = getattr(sys.modules.get("PIL.Image"), "Image", None)
    if pillow is not None and isinstance(given, pillow):
        return np.ascontiguousarray(np.asarray(given.convert("RGB"))[..., ::-1])
    if isinstance(given, str | os.PathLike):
        return _read(os.fspath(given))
    if not isinstance(given, np.ndarray):
        raise TypeError(f"a picture is a path, an array or a PIL image, not {type(given).__name__}")
    if given.ndim != 3 or given.shape[2] != 3 or given.dtype != np.uint8 or not given.size:
        raise ValueError(
            f"a picture is an array (height, width, 3) of uint8, at least one pixel, not {given.shape} of {given.dtype}"
        )
    return np.ascontiguousarray(given)


def frames(boxes: Any, image: Array) -> list[Frame]:
    """Of boxes (n, 4), each x1, y1, x2, y2 in pixels; None: of the whole picture. Raises ValueError for other boxes."""
    height, width = image.shape[:2]
    found = np.array([[0, 0, width, height]] if boxes is None else boxes, np.float64)
    if found.size == 0:
        return []
    if found.ndim != 2 or found.shape[1] != 4:
        raise ValueError(f"boxes are (n, 4): x1, y1, x2, y2 of each, not {found.shape}")
    for box in found:
        if not np.isfinite(box).all() or box[2] <= box[0] or box[3] <= box[1]:
            raise ValueError(f"no box: {box.tolist()}; x1 < x2 and y1 < y2, in pixels")
    return [_frame(box, width / height) for box in found]


def scaled(image: Array, frame: Frame, out: Array) -> None:
    """What the model sees of a picture, written into ``out`` (3, height, width) of float32, RGB."""
    cv2 = _opencv()
    height, width = image.shape[:2]
    scale = np.array([width - 1, height - 1]) / frame.size
    shift = scale * (frame.size / 2 - frame.centre)
    matrix = np.array([[scale[0], 0, shift[0]], [0, scale[1], shift[1]]])
    seen = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR)
    seen = cv2.resize(seen, (out.shape[2], out.shape[1]), interpolation=cv2.INTER_LINEAR)
    for channel in range(3):
        np.subtract(seen[..., 2 - channel], _MEAN[channel], out=out[channel])
        np.divide(out[channel], _DEVIATION[channel], out=out[channel])


def _frame(box: Array, aspect: float) -> Frame:
    """A box with room around it, widened to the picture's aspect ratio, so that nothing is stretched."""
    width, height = (box[2:] - box[:2]) * PADDING
    size = [width, width / aspect] if width > height * aspect else [height * aspect, height]
    return Frame((box[:2] + box[2:]) / 2, np.array(size))


def _read(path: str) -> Array:
    if not os.path.isfile(path):
        raise FileNotFoundError(f"no such file: {path}")
    found: Array | None = _opencv().imread(path, _opencv().IMREAD_COLOR)
    if found is None:
        raise ValueError(f"{path} is no picture that OpenCV can read")
    return found


def _opencv() -> Any:
    import cv2

    return cv2
