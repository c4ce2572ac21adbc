"""OCR by CnOcr, with the real models that the rapidocr wheel holds: Chinese and English.

CnOcr is nearly thread-safe, but not quite: each call writes its batch size and its image scaling
into the shared recogniser and detector, where a call beside it would read them. So every call
works on a shallow copy of those few objects (some microseconds); weights and sessions are shared,
any number of threads may read pages at once, and no lock is held. The copy also carries the
call's own RunOptions, which is how a page can be cancelled while it is being read. Models of
CnOcr's older kinds, which are built otherwise, are called one at a time instead.

A call is mostly onnxruntime and OpenCV, which release the GIL: threads do use several processors.
"""

from __future__ import annotations

import copy
import importlib.util
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from sharedmodel.reply import on_cancel
from sharedmodel.server.models.torchvision_stand_in import stand_in

Encoded = bytes | bytearray | memoryview
Image = np.ndarray[Any, Any] | Encoded

# In the wheel: model name -> file below rapidocr/models.
_BUNDLED = {
    "multi_PP-OCRv6_small": "PP-OCRv6_rec_small.onnx",
    "multi_PP-OCRv6_det_small": "PP-OCRv6_det_small.onnx",
}
_importing = threading.Lock()


class CnOcrModel:
    """One CnOcr, safe to call from many threads at once.

    rec_model_name, det_model_name   CnOcr's; these two come from the rapidocr wheel, any other
                                     needs rec_model_fp / det_model_fp, or CnOcr downloads it
    threads    of onnxruntime, for each page: 1 is best where many pages come at once
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
        threads: int = 1,
        warm_up: bool = True,
        **options: Any,
    ) -> None:
        # Read by onnxruntime at import: without it, it writes telemetry files.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        backends = {options.get("rec_model_backend"), options.get("det_model_backend")}
        # PyTorch models do call torchvision: then it must be a real one.
        with _importing, nullcontext() if "pytorch" in backends else stand_in():
            from cnocr import CnOcr
            from cnocr.ppocr import RapidRecognizer
            from cnstd.ppocr.rapid_detector import RapidDetector
        import onnxruntime

        # It would tell of each model file in colours; cnstd says the same, a little later.
        logging.getLogger("RapidOCR").setLevel(logging.WARNING)
        engine = {"intra_op_num_threads": threads, "inter_op_num_threads": 1}
        for part, name in (("rec", rec_model_name), ("det", det_model_name)):
            if name in _BUNDLED:
                options.setdefault(f"{part}_model_fp", _bundled(name))
            if options.get(f"{part}_model_backend", "onnx") == "onnx" and "PP-OCR" in name:
                more = options.get(f"{part}_more_configs") or {}
                options[f"{part}_more_configs"] = {"engine_cfg": engine, **more}
        self._ocr = CnOcr(rec_model_name, det_model_name=det_model_name, **options)
        self._new_options = onnxruntime.RunOptions
        det = self._ocr.det_model
        # The angle classifier keeps its session elsewhere, and the older models keep state.
        copyable = isinstance(self._ocr.rec_model, RapidRecognizer) and (
            det is None or (isinstance(det.det_model, RapidDetector) and not det.use_angle_clf)
        )
        self._alone = None if copyable else threading.Lock()
        if warm_up:
            self.ocr(_warm_up_page())

    def ocr(self, img: Image, **options: Any) -> list[dict[str, Any]]:
        """As `CnOcr.ocr`: a list of {"text", "score", "position"[, "cropped_img"]}."""
        with self._call() as ocr:
            return list(ocr.ocr(_decoded(img), **options))

    def ocr_for_single_line(self, img: Image, **options: Any) -> dict[str, Any]:
        """As `CnOcr.ocr_for_single_line`: {"text", "score"} of an image with one line."""
        with self._call() as ocr:
            return dict(ocr.ocr_for_single_line(_decoded(img), **options))

    def ocr_for_single_lines(self, img_list: Sequence[Image], **options: Any) -> list[dict[str, Any]]:
        """As `CnOcr.ocr_for_single_lines`: {"text", "score"} of each one-line image."""
        with self._call() as ocr:
            return list(ocr.ocr_for_single_lines([_decoded(img) for img in img_list], **options))

    def canary(self) -> dict[str, Any]:
        """A first call to make: the small page."""
        return {"method": "ocr", "args": (_warm_up_page(),)}

    def card(self) -> dict[str, Any]:
        """Whether a page is searched for lines, and which family the recogniser is of."""
        return {"detects": self._ocr.det_model is not None, "rec_space": str(self._ocr.rec_space)}

    @staticmethod
    def compared(options: dict[str, Any]) -> dict[str, Any]:
        """The options as they are told apart: with the files that are taken, without threads."""
        full = dict(options)
        for part in ("rec", "det"):
            name = full.get(f"{part}_model_name")
            if name in _BUNDLED and not full.get(f"{part}_model_fp"):
                full[f"{part}_model_fp"] = _bundled(name)
            full[f"{part}_more_configs"] = _without_threads(full.get(f"{part}_more_configs") or {})
        return full

    def close(self) -> None:
        """Lets the models go. Calls that are running keep them until they are done."""
        self._ocr = None

    @contextmanager
    def _call(self) -> Iterator[Any]:
        ocr = self._ocr
        if ocr is None:
            raise RuntimeError("this model is closed")
        if self._alone is not None:
            with self._alone:
                yield ocr
            return
        options = self._new_options()

        def stop() -> None:
            options.terminate = True

        with on_cancel(stop):
            yield _own_copy(ocr, options)
        # CnOcr answers a recogniser that failed with fewer lines, and says nothing.
        if options.terminate:
            raise RuntimeError("cancelled while reading the page")


class _Stoppable:
    """An InferenceSession whose every run ends when `options.terminate` is set."""

    def __init__(self, session: Any, options: Any) -> None:
        self._session = session
        self._options = options

    def run(self, names: Any, feed: Any) -> Any:
        return self._session.run(names, feed, self._options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


def _own_copy(ocr: Any, options: Any) -> Any:
    """CnOcr for one call: own copies of what a call writes to, the rest shared."""

    def engine(shared: Any) -> Any:
        own = copy.copy(shared)
        own.session = copy.copy(shared.session)
        own.session.session = _Stoppable(shared.session.session, options)
        return own

    own = copy.copy(ocr)
    own.rec_model = copy.copy(ocr.rec_model)
    own.rec_model.recognizer = engine(ocr.rec_model.recognizer)
    if ocr.det_model is not None:
        own.det_model = copy.copy(ocr.det_model)
        own.det_model.det_model = copy.copy(ocr.det_model.det_model)
        own.det_model.det_model._detector = engine(ocr.det_model.det_model._detector)
    return own


def _decoded(img: Any) -> Any:
    """An array as it is; a file's bytes as CnOcr reads the file: upright, in RGB."""
    if isinstance(img, np.ndarray) and not (img.ndim == 1 and img.dtype == np.uint8):
        return img
    if not isinstance(img, np.ndarray | bytes | bytearray | memoryview):
        raise TypeError(
            f"an image is an array or the bytes of an image file, not {type(img).__name__};"
            " a path is opened by the caller, who sends what is in the file"
        )
    from PIL import Image as Pillow
    from PIL import ImageOps, UnidentifiedImageError

    data = np.ascontiguousarray(img).data if isinstance(img, np.ndarray) else img
    try:
        opened = Pillow.open(BytesIO(data))
    except UnidentifiedImageError:
        raise UnidentifiedImageError("these bytes are no image that Pillow can read") from None
    upright = ImageOps.exif_transpose(opened)
    return np.array(upright.convert("RGB"))


def _bundled(name: str) -> str | None:
    spec = importlib.util.find_spec("rapidocr")  # found, not imported
    return None if spec is None or not spec.origin else str(Path(spec.origin).parent / "models" / _BUNDLED[name])


def _without_threads(more: dict[str, Any]) -> dict[str, Any]:
    engine = {key: value for key, value in more.get("engine_cfg", {}).items() if not key.endswith("_num_threads")}
    rest = {key: value for key, value in more.items() if key != "engine_cfg"}
    return {**rest, "engine_cfg": engine} if engine else rest


def _warm_up_page() -> np.ndarray[Any, Any]:
    import cv2

    page = np.full((160, 480, 3), 255, np.uint8)
    for line in (60, 120):
        cv2.putText(page, "warm up 0123", (20, line), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (0, 0, 0), 2)
    return page
