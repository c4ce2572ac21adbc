"""OCR by CnOcr, with the real models that the rapidocr wheel holds: Chinese and English.

Any number of threads may read pages at once (see `rapid`). Models of CnOcr's older kinds, which are built
otherwise, are called one at a time instead.

A call is mostly onnxruntime and OpenCV, which release the GIL: threads do use several processors. What is left, boxes
and the decoding of lines, is Python of some milliseconds a page: beside other models it has a host of its own.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from .lending import Lent
from .rapid import (
    BUNDLED,
    Image,
    bundled,
    decoded,
    engine_config,
    importing,
    is_copyable,
    own_detector,
    own_engine,
    restrained,
    warm_up_page,
    without_threads,
)


class CnOcrModel:
    """One CnOcr, safe to call from many threads at once.

    rec_model_name, det_model_name   CnOcr's; these two come from the rapidocr wheel, any other
                                     needs rec_model_fp / det_model_fp, or CnOcr downloads it
    threads    processors that a page may use while it is the only one (of several at once each takes one); None
               takes every one that this process may
    warm_up    read a small page at once, so that the first caller doesn't pay for it
    options    go to CnOcr as they are

    Images are arrays as CnOcr takes them, (height, width[, 1 or 3]), or an image file's bytes,
    read as CnOcr reads the file.
    """

    def __init__(
        self,
        rec_model_name: str = "multi_PP-OCRv6_small",
        *,
        det_model_name: str = "multi_PP-OCRv6_det_small",
        threads: int | None = None,
        warm_up: bool = True,
        **options: Any,
    ) -> None:
        with importing(options.get("rec_model_backend"), options.get("det_model_backend")):
            from cnocr import CnOcr
            from cnocr.ppocr import RapidRecognizer

        def made(threads: int) -> Any:
            full = _configured(rec_model_name, det_model_name, options, threads)
            ocr = CnOcr(rec_model_name, det_model_name=det_model_name, **full)
            if ocr.det_model is not None and ocr.det_model.use_angle_clf:
                restrained(ocr.det_model.angle_clf, threads)
            return ocr

        def copyable(ocr: Any) -> bool:
            return isinstance(ocr.rec_model, RapidRecognizer) and (ocr.det_model is None or is_copyable(ocr.det_model))

        self._lent = Lent(made, threads, _own_copy, "reading the page", copyable)
        ocr = self._lent.wide
        self._about = {"detects": ocr.det_model is not None, "rec_space": str(ocr.rec_space)}
        if warm_up:
            self.ocr(warm_up_page())

    def ocr(self, img: Image, **options: Any) -> list[dict[str, Any]]:
        """As `CnOcr.ocr`: a list of {"text", "score", "position"[, "cropped_img"]}."""
        with self._lent.to_call() as ocr:
            return list(ocr.ocr(decoded(img), **options))

    def ocr_for_single_line(self, img: Image, **options: Any) -> dict[str, Any]:
        """As `CnOcr.ocr_for_single_line`: {"text", "score"} of an image with one line."""
        with self._lent.to_call() as ocr:
            return dict(ocr.ocr_for_single_line(decoded(img), **options))

    def ocr_for_single_lines(self, img_list: Sequence[Image], **options: Any) -> list[dict[str, Any]]:
        """As `CnOcr.ocr_for_single_lines`: {"text", "score"} of each one-line image."""
        with self._lent.to_call() as ocr:
            return list(ocr.ocr_for_single_lines([decoded(img) for img in img_list], **options))

    def canary(self) -> dict[str, Any]:
        """A first call to make: the small page."""
        return {"method": "ocr", "args": (warm_up_page(),)}

    def card(self) -> dict[str, Any]:
        """Whether a page is searched for lines, and which family the recogniser is of."""
        return dict(self._about)

    @staticmethod
    def compared(options: dict[str, Any]) -> dict[str, Any]:
        """The options as they are told apart: with the files that are taken, without threads."""
        full = dict(options)
        for part in ("rec", "det"):
            name = full.get(f"{part}_model_name")
            if isinstance(name, str) and name in BUNDLED and not full.get(f"{part}_model_fp"):
                full[f"{part}_model_fp"] = bundled(name)
            full[f"{part}_more_configs"] = _compared(full.get(f"{part}_more_configs") or {})
        return full

    def close(self) -> None:
        """Lets the models go. Calls that are running keep them until they are done."""
        self._lent.close()


def _configured(rec: str, det: str, options: dict[str, Any], threads: int) -> dict[str, Any]:
    """CnOcr's options with bundled files, and with so many threads for each session."""
    full = dict(options)
    for part, name in (("rec", rec), ("det", det)):
        if name in BUNDLED:
            full.setdefault(f"{part}_model_fp", bundled(name))
        if full.get(f"{part}_model_backend", "onnx") == "onnx" and "PP-OCR" in name:
            more = full.get(f"{part}_more_configs") or {}
            full[f"{part}_more_configs"] = {"engine_cfg": engine_config(threads), **more}
    return full


def _own_copy(ocr: Any, options: Any) -> Any:
    """CnOcr for one call: own copies of what a call writes to, the rest shared."""
    own = copy.copy(ocr)
    own.rec_model = copy.copy(ocr.rec_model)
    own.rec_model.recognizer = own_engine(ocr.rec_model.recognizer, options)
    if ocr.det_model is not None:
        own.det_model = own_detector(ocr.det_model, options)
    return own


def _compared(more: dict[str, Any]) -> dict[str, Any]:
    engine = without_threads(more.get("engine_cfg", {}))
    rest = {key: value for key, value in more.items() if key != "engine_cfg"}
    return {**rest, "engine_cfg": engine} if engine else rest
