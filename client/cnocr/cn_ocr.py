"""CnOcr: looks like the library's, and is an address and a name."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

from sharedmodel.client.backing import Backing, Wanted, file_path
from sharedmodel.client.images import told_of
from sharedmodel.client.onnxruntime.capi.onnxruntime_pybind11_state import twin_of
from sharedmodel.client.plain import plain
from sharedmodel.client.raising import as_the_library

from . import images

_REC: Final = "densenet_lite_136-gru"
_DET: Final = "multi_PP-OCRv6_det_small"
# With the values that the library has for them.
_PLAIN: Final = {"context": "cpu", "rec_model_backend": "onnx", "det_model_backend": "onnx"}
_FILES: Final = ("rec_model_fp", "det_model_fp", "rec_vocab_fp")
_FOLDERS: Final = ("rec_root", "det_root")
_IN_HOST: Final = ("rec_model", "det_model")


class CnOcr:
    """OCR by the host's CnOcr. Two with equal arguments share one.

    Arguments as `cnocr.CnOcr`; ``rec_more_configs`` and ``det_more_configs`` hold plain values. How many threads
    onnxruntime has for a page is the host's choice, unless an ``engine_cfg`` among them says it.
    """

    def __init__(
        self,
        rec_model_name: str = _REC,
        *,
        det_model_name: str = _DET,
        cand_alphabet: Collection[str] | str | None = None,
        context: str = "cpu",
        rec_model_fp: str | None = None,
        rec_model_backend: str = "onnx",
        rec_vocab_fp: str | Path | None = None,
        rec_lang_type: Any = None,
        rec_more_configs: dict[str, Any] | None = None,
        rec_root: str | Path | None = None,
        det_model_fp: str | None = None,
        det_model_backend: str = "onnx",
        det_more_configs: dict[str, Any] | None = None,
        det_root: str | Path | None = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(rec_model_name, str | None):
            raise AttributeError(f"{type(rec_model_name).__name__!r} object has no attribute 'split'")
        given = {name: value for name, value in locals().items() if name not in ("self", "kwargs")}
        if rec_model_name is None and kwargs.get("model_name") is not None:  # as earlier versions had it
            given["rec_model_name"] = kwargs["model_name"]
        for name in ("rec_model_fp", "det_model_fp"):
            if given[name] is not None and not os.path.isfile(given[name]):
                raise FileNotFoundError(f"can not find model file {given[name]}")
        with as_the_library(twin_of):
            self._backing = Backing(_wanted(given))
            card = self._backing.call(lambda model: model.card())
        self.rec_space: str = card["rec_space"]
        self._detects: bool = card["detects"]

    def ocr(
        self, img_fp: Any, rec_batch_size: int = 1, return_cropped_image: bool = False, **det_kwargs: Any
    ) -> list[dict[str, Any]]:
        """The lines of a page: a list of {"text", "score", "position"[, "cropped_img"]}."""
        image = images.page(img_fp, self._detects)
        options = {"rec_batch_size": rec_batch_size, "return_cropped_image": return_cropped_image, **det_kwargs}
        with told_of(img_fp, strictly=self._detects):
            lines: list[dict[str, Any]] = self._call("ocr", image, options)
        return lines

    def ocr_for_single_line(self, img_fp: Any) -> dict[str, Any]:
        """{"text", "score"} of an image with one line."""
        image = images.line(img_fp)
        with told_of(img_fp):
            line: dict[str, Any] = self._call("ocr_for_single_line", image, {})
        return line

    def ocr_for_single_lines(self, img_list: Any, batch_size: int = 1) -> list[dict[str, Any]]:
        """{"text", "score"} of each one-line image."""
        if len(img_list) == 0:
            return []
        each = [images.line(img) for img in img_list]
        with told_of(*img_list):
            lines: list[dict[str, Any]] = self._call("ocr_for_single_lines", each, {"batch_size": batch_size})
        return lines

    def _call(self, method: str, image: Any, options: dict[str, Any]) -> Any:
        return self._backing.call(lambda model: getattr(model, method)(image, **options))

    def __getattr__(self, name: str) -> Any:
        if name in _IN_HOST:
            raise AttributeError(f"CnOcr.{name} is in the host and not carried by this stand-in")
        raise AttributeError(f"'CnOcr' object has no attribute '{name}'")


def _wanted(given: dict[str, Any]) -> Wanted:
    """Which model the arguments mean, without those that are the library's own values."""
    kept = {name: value for name, value in given.items() if value is not None and _PLAIN.get(name) != value}
    paths: dict[str, str] = {name: file_path(kept.pop(name)) for name in _FILES if name in kept}
    for name in _FOLDERS:
        if name in kept:
            kept[name] = os.path.abspath(kept[name])
    return Wanted.of("cnocr", {name: plain(f"CnOcr({name}=...)", value) for name, value in kept.items()}, paths)
