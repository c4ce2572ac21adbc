"""Images as CnOcr takes them, made ready to cross."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sharedmodel.client.images import contents, crossing, is_a


def page(image: Any, detects: bool) -> Any:
    """The page of `CnOcr.ocr`: a path, a PIL image, an array or a torch tensor. Raises what the library raises."""
    if is_a(image, "PIL.Image", "Image"):
        return np.asarray(image.convert("RGB"))
    if not detects:
        return line(image)
    if isinstance(image, list | tuple):  # each is looked at, and the whole is refused
        for each in image:
            _page(each)
        raise TypeError("list indices must be integers or slices, not str")
    return _page(image)


def _page(image: Any) -> Any:
    if not isinstance(image, str | Path | np.ndarray) and not is_a(image, "torch", "Tensor"):
        raise TypeError(f"type {type(image)} is not supported now")
    return line(image)


def line(image: Any) -> Any:
    """A line of `CnOcr.ocr_for_single_line`: a path, an array or a torch tensor."""
    if isinstance(image, str | Path):
        return contents(image)
    if is_a(image, "torch", "Tensor"):
        image = image.numpy()
    if not isinstance(image, np.ndarray | np.generic):
        raise AttributeError(f"{type(image).__name__!r} object has no attribute 'shape'")
    return crossing(np.asarray(image))
