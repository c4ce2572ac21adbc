"""CnStd: looks like the library's, and is an address and a name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import numpy as np

from sharedmodel.client.backing import Backing, Wanted, file_path
from sharedmodel.client.images import contents, crossing, is_a, told_of
from sharedmodel.client.onnxruntime.capi.onnxruntime_pybind11_state import twin_of
from sharedmodel.client.plain import plain
from sharedmodel.client.raising import as_the_library

_NAME: Final = "multi_PP-OCRv6_det_small"
# With the values that the library has for them.
_PLAIN: Final = {
    "auto_rotate_whole_image": False, "rotated_bbox": True, "context": "cpu", "model_backend": "onnx",
    "use_angle_clf": False,
}  # fmt: skip
_FILES: Final = ("model_fp", "angle_clf_fp")
_IN_HOST: Final = ("det_model", "angle_clf")


class CnStd:
    """Text detection by the host's CnStd. Two with equal arguments share one.

    Arguments as `cnstd.CnStd`, with plain values in ``angle_clf_configs`` and among the detector's own. How many
    threads onnxruntime has for a page is the host's choice, unless an ``engine_cfg`` says it.
    """

    def __init__(
        self,
        model_name: str = _NAME,
        *,
        auto_rotate_whole_image: bool = False,
        rotated_bbox: bool = True,
        context: str = "cpu",
        model_fp: str | None = None,
        model_backend: str = "onnx",
        root: str | Path | None = None,
        use_angle_clf: bool = False,
        angle_clf_configs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        given = {name: value for name, value in locals().items() if name not in ("self", "kwargs")} | kwargs
        configs = {**(given.pop("angle_clf_configs") or {})} if use_angle_clf else {}
        given.pop("angle_clf_configs", None)
        given |= {"use_angle_clf": bool(use_angle_clf), "angle_clf_fp": configs.pop("model_fp", None)}
        for name in _FILES:
            if given[name] is not None and not os.path.isfile(given[name]):
                raise FileNotFoundError(f"can not find model file {given[name]}")
        if configs:
            given["angle_clf_configs"] = configs
        with as_the_library(twin_of):
            self._backing = Backing(_wanted(given))
            card = self._backing.call(lambda model: model.card())
        self.space: str = card["space"]
        self._single: bool = card["single"]
        self._turns = bool(use_angle_clf)

    @property
    def use_angle_clf(self) -> bool:
        """Whether what lies upside down is turned: as it was asked for."""
        return self._turns

    def detect(
        self,
        img_list: Any,
        resized_shape: Any = (768, 768),
        preserve_aspect_ratio: bool = True,
        min_box_size: int = 8,
        box_score_thresh: float = 0.3,
        batch_size: int = 20,
        **kwargs: Any,
    ) -> Any:
        """{"rotated_angle", "detected_texts": [{"box", "score", "cropped_img"}]} of an image; a list of them for a
        list of images, each a path, a PIL image, or an array (height, width, 3) of RGB.
        """
        options = {
            "resized_shape": resized_shape,
            "preserve_aspect_ratio": preserve_aspect_ratio,
            "min_box_size": min_box_size,
            "box_score_thresh": box_score_thresh,
            "batch_size": batch_size,
        }
        if isinstance(img_list, list | tuple):
            return self._each(img_list, options)
        if not isinstance(img_list, str | Path | np.ndarray) and not is_a(img_list, "PIL.Image", "Image"):
            raise TypeError(f"type {type(img_list)} is not supported now")
        return self._each([img_list], options)[0]

    def _each(self, images: Any, options: dict[str, Any]) -> list[dict[str, Any]]:
        """As the library: one image after the other, and the first mistake in order."""
        if not self._single or not images:
            return self._detected(images, options)
        return [self._detected([image], options)[0] for image in images]

    def _detected(self, images: Any, options: dict[str, Any]) -> list[dict[str, Any]]:
        try:
            crossed = [self._image(image) for image in images]
        except Exception:
            self._call([], options)  # what is wrong with the options is said first
            raise
        pictures = [number for number, image in enumerate(images) if is_a(image, "PIL.Image", "Image")]
        with told_of(*images, strictly=True):
            found: list[dict[str, Any]] = self._call(crossed, {"pictures": pictures, **options})
        return found

    def _image(self, image: Any) -> Any:
        if isinstance(image, str | Path):
            return contents(image)
        if is_a(image, "PIL.Image", "Image"):
            return np.asarray(image if self._single else image.convert("RGB"))
        if not isinstance(image, np.ndarray):
            raise TypeError(f"type {type(image)} is not supported now")
        return crossing(image)

    def _call(self, images: list[Any], options: dict[str, Any]) -> Any:
        with as_the_library(twin_of):
            return self._backing.call(lambda model: model.detect(images, **options))

    def __getattr__(self, name: str) -> Any:
        if name in _IN_HOST:
            raise AttributeError(f"CnStd.{name} is in the host and not carried by this stand-in")
        raise AttributeError(f"'CnStd' object has no attribute '{name}'")


def _wanted(given: dict[str, Any]) -> Wanted:
    """Which model the arguments mean, without those that are the library's own values."""
    kept = {name: value for name, value in given.items() if value is not None and _PLAIN.get(name) != value}
    paths: dict[str, str] = {name: file_path(kept.pop(name)) for name in _FILES if name in kept}
    if "root" in kept:
        kept["root"] = os.path.abspath(kept["root"])
    return Wanted.of("cnstd", {name: plain(f"CnStd({name}=...)", value) for name, value in kept.items()}, paths)
