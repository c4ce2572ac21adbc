"""What the adapters of OCR (cnocr, cnstd, rapidocr) share: imports, bundled files, images, and a copy for each call.

All three run RapidOCR's engines, and write to shared objects what belongs to one call (its image scaling,
its batch size), where a call beside it would read them. So every call works on a shallow copy of those few
objects (some microseconds); weights and sessions are shared, any number of threads may be at work at once, and
no lock is held. The copy also carries the call's own RunOptions, which is how it can be cancelled while it runs.
"""

from __future__ import annotations

import copy
import importlib.util
import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from sharedmodel.tensor import Array

from .hollow import UNCALLED, hollow

Encoded = bytes | bytearray | memoryview
Image = Array | Encoded

# In the wheel: model name -> file below rapidocr/models.
BUNDLED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "multi_PP-OCRv6_small": "PP-OCRv6_rec_small.onnx",
        "multi_PP-OCRv6_det_small": "PP-OCRv6_det_small.onnx",
        "ch_ppocr_mobile_v2.0_cls": "ch_ppocr_mobile_v2.0_cls_mobile.onnx",
    }
)
_importing = threading.Lock()
logger = logging.getLogger("sharedmodel.host")


@contextmanager
def importing(*backends: str | None) -> Iterator[None]:
    """Within it, cnocr and cnstd can be imported, for models of these backends."""
    # PyTorch models do call torchvision and the others: then they must be real ones.
    with _importing, nullcontext() if "pytorch" in backends else hollow(*UNCALLED):
        yield
    # It would tell of each model file in colours; cnstd says the same, a little later.
    logging.getLogger("RapidOCR").setLevel(logging.WARNING)


def engine_config(threads: int) -> dict[str, Any]:
    """An `engine_cfg` of RapidOCR."""
    return {"intra_op_num_threads": threads, "inter_op_num_threads": 1}


def without_threads(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of an `engine_cfg` can change a result."""
    return {key: value for key, value in config.items() if not key.endswith("_num_threads")}


def bundled(name: str) -> str | None:
    """The file of a model that is in the rapidocr wheel; None where that is not installed."""
    spec = importlib.util.find_spec("rapidocr")  # found, not imported
    return None if spec is None or not spec.origin else str(Path(spec.origin).parent / "models" / BUNDLED[name])


class _Stoppable:
    """An InferenceSession whose every run ends when `options.terminate` is set.

    A run that fails of itself is logged: the libraries go on without it, and say nothing.
    """

    def __init__(self, session: Any, options: Any) -> None:
        self._session = session
        self._options = options

    def run(self, names: Any, feed: Any) -> Any:
        try:
            return self._session.run(names, feed, self._options)
        except Exception as exc:
            if not self._options.terminate:
                logger.error("a run of onnxruntime failed: %s", exc)
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


def own_engine(shared: Any, options: Any) -> Any:
    """A recogniser or detector of RapidOCR for one call: what a call writes to is its own."""
    own = copy.copy(shared)
    own.session = copy.copy(shared.session)
    own.session.session = _Stoppable(shared.session.session, options)
    return own


def own_detector(shared: Any, options: Any) -> Any:
    """A CnStd for one call."""
    own = copy.copy(shared)
    own.det_model = copy.copy(shared.det_model)
    own.det_model._detector = own_engine(shared.det_model._detector, options)
    if shared.use_angle_clf:
        own.angle_clf = copy.copy(shared.angle_clf)
        own.angle_clf.predictor = _Stoppable(shared.angle_clf.predictor, options)
    return own


def is_copyable(detector: Any) -> bool:
    """Whether `own_detector` can copy a CnStd: older detectors keep state elsewhere."""
    from cnstd.ppocr.rapid_detector import RapidDetector

    return isinstance(detector.det_model, RapidDetector)


def restrained(classifier: Any, threads: int) -> None:
    """Give an AngleClassifier its processors: it takes all there are, and keeps them busy."""
    import onnxruntime

    from .onnx_options import session_options

    options, providers = session_options(threads=threads), classifier.predictor.get_providers()
    classifier.predictor = onnxruntime.InferenceSession(classifier._model_fp, options, providers=providers)


def is_encoded(img: Any) -> bool:
    """Whether it is what is in an image file. Raises TypeError for what is neither that nor an array."""
    if isinstance(img, np.ndarray):
        return img.ndim == 1 and img.dtype == np.uint8
    if not isinstance(img, Encoded):
        raise TypeError(
            f"an image is an array or the bytes of an image file, not {type(img).__name__};"
            " a path is opened by the caller, who sends what is in the file"
        )
    return True


def decoded(img: Any) -> Any:
    """An array as it is; a file's bytes as the libraries read the file: upright, in RGB."""
    if not is_encoded(img):
        return img
    from PIL import Image as Pillow
    from PIL import ImageOps, UnidentifiedImageError

    try:
        opened = Pillow.open(BytesIO(plain_bytes(img)))
    except UnidentifiedImageError:
        raise UnidentifiedImageError("these bytes are no image that Pillow can read") from None
    upright = ImageOps.exif_transpose(opened)
    return np.array(upright.convert("RGB"))


def plain_bytes(img: Any) -> Encoded:
    """The bytes of a file, which may have come as an array."""
    return np.ascontiguousarray(img).data if isinstance(img, np.ndarray) else img


def warm_up_page() -> Array:
    """A small page with two lines."""
    import cv2

    page = np.full((160, 480, 3), 255, np.uint8)
    for line in (60, 120):
        cv2.putText(page, "warm up 0123", (20, line), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (0, 0, 0), 2)
    return page
