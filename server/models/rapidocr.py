"""OCR by RapidOCR, with the real models that its wheel holds, and without PyTorch: the light choice.

Its results have the shape of the kind `cnocr`, so that pipelines and applications take the one or the other. An
object of RapidOCR keeps the options of its last call for those that follow; here each call has a copy of its own
(see `rapid`), so options belong to their call and any number of threads may read pages at once.

A call is mostly onnxruntime and OpenCV, which release the GIL; what is left to Python are loops over boxes. It
has a host of its own by default, where there are other models.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from io import BytesIO
from typing import Any, Final

import numpy as np

from sharedmodel.errors import BadArgument
from sharedmodel.tensor import Array

from .lending import Lent
from .rapid import Image, is_encoded, own_engine, plain_bytes, warm_up_page

_AS_THEY_ARE: Final = ("1", "L", "LA", "RGB", "RGBA")  # Pillow's modes that RapidOCR reads rightly
_OURS: Final = ("engine_type", "task_type", "use_det", "use_rec")


class RapidOcrModel:
    """One RapidOCR, safe to call from many threads at once.

    lang        of the text: "ch" reads Chinese and English; so do most languages in Latin script and Japanese, with
                the same model, which the wheel holds
    det_model_path, rec_model_path, cls_model_path   files of other models: the detector of lines, the recogniser, the
                classifier that tells what lies upside down
    rec_keys_path    the characters of a recogniser, a line each, where its file does not tell them
    model_root_dir   where models are, and are downloaded to, if not in the library's own folder
    use_cls     turn lines that lie upside down
    text_score  lines with a lower score are left out
    params      RapidOCR's other parameters, by their dotted names: {"Det.box_thresh": 0.6}
    threads     processors that a page may use while it is the only one (of several at once each takes one); None
                takes every one that this process may
    warm_up     read a small page at once, so that the first caller doesn't pay for it

    Images are arrays of uint8 in RGB, (height, width[, 1 to 4]), or an image file's bytes, read as RapidOCR reads the
    file.
    """

    def __init__(
        self,
        *,
        lang: str = "ch",
        det_model_path: str | None = None,
        rec_model_path: str | None = None,
        cls_model_path: str | None = None,
        rec_keys_path: str | None = None,
        model_root_dir: str | None = None,
        use_cls: bool = True,
        text_score: float = 0.5,
        params: dict[str, Any] | None = None,
        threads: int | None = None,
        warm_up: bool = True,
    ) -> None:
        from rapidocr import RapidOCR

        given = {
            "Global.model_root_dir": model_root_dir,
            "Global.use_cls": use_cls,
            "Global.text_score": text_score,
            "Global.log_level": "error",  # it would warn of each page without text, in colours
            "Det.model_path": det_model_path,
            "Cls.model_path": cls_model_path,
            "Rec.model_path": rec_model_path,
            "Rec.rec_keys_path": rec_keys_path,
            "Rec.lang_type": lang,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            **_checked(params or {}),
        }

        def made(threads: int) -> Any:
            return RapidOCR(params={"EngineConfig.onnxruntime.intra_op_num_threads": threads, **given})

        self._lent = Lent(made, threads, _own, "reading the page")
        self._card = {"lang": lang, "version": self._lent.wide.cfg.Rec.ocr_version.value}
        if warm_up:
            self.ocr(_square_page())

    def ocr(
        self,
        img: Image,
        *,
        use_cls: bool | None = None,
        text_score: float | None = None,
        box_thresh: float | None = None,
        unclip_ratio: float | None = None,
    ) -> list[dict[str, Any]]:
        """The lines of a page, from top to bottom: a list of {"text", "score", "position"}; a position is float32
        (4, 2), corners x, y from the upper left one clockwise.

        Options as RapidOCR's; None: as configured. Raises TypeError or ValueError for what can't be read as a page,
        and what Pillow raises for a file.
        """
        page = _page(img)
        from rapidocr.ch_ppocr_det.utils import ResizeImgError
        from rapidocr.utils.process_img import ResizeImgError as OfPage

        options = {"use_cls": use_cls, "text_score": text_score, "box_thresh": box_thresh, "unclip_ratio": unclip_ratio}
        with self._lent.to_call() as ocr:
            try:
                found = ocr(page, **options)
            except (ResizeImgError, OfPage):
                height, width = page.shape[:2] if isinstance(page, np.ndarray) else page.size[::-1]
                raise ValueError(f"a page of {height} x {width} pixels is too narrow to look for lines") from None
        if found.boxes is None:
            return []
        lines = zip(found.txts, found.scores, found.boxes, strict=True)
        return [{"text": text, "score": score, "position": box} for text, score, box in lines]

    def canary(self) -> dict[str, Any]:
        """A first call to make: the small page."""
        return {"method": "ocr", "args": (_square_page(),)}

    def card(self) -> dict[str, Any]:
        """The language it reads, and which generation its recogniser is of."""
        return dict(self._card)

    def close(self) -> None:
        """Lets the models go. Calls that are running keep them until they are done."""
        self._lent.close()


def _square_page() -> Array:
    """The small page, as high as it is wide: RapidOCR scales what is narrow until it has 736 pixels each way."""
    page = warm_up_page()
    height, width = page.shape[:2]
    return np.pad(page, ((0, width - height), (0, 0), (0, 0)), constant_values=255)


def _own(shared: Any, options: Any) -> Any:
    """A RapidOCR for one call, whose runs end when `options.terminate` is set."""
    own = copy.copy(shared)
    for part in ("text_det", "text_cls", "text_rec"):
        setattr(own, part, own_engine(getattr(shared, part), options))
    own.text_det.postprocess_op = copy.copy(shared.text_det.postprocess_op)
    return own


def _checked(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as RapidOCR takes them. Raises BadArgument for one that it would overlook, or misread."""
    from rapidocr import ModelType, OCRVersion
    from rapidocr.main import DEFAULT_CFG_PATH
    from rapidocr.utils.parse_parameters import ParseParams

    known, kinds = ParseParams.load(DEFAULT_CFG_PATH), {"ocr_version": OCRVersion, "model_type": ModelType}
    checked = dict(params)
    for key, value in params.items():
        *path, name = key.split(".")
        table: Any = known
        for part in path:
            table = table.get(part)
            table = table if isinstance(table, Mapping) else {}
        if name not in table or name in _OURS:
            allowed = ", ".join(".".join((*path, name)) for name in table if name not in _OURS)
            raise BadArgument(f"params: there is no {key!r} to set; there is: {allowed or ', '.join(known)}")
        if name in kinds:
            try:
                checked[key] = kinds[name](value)
            except ValueError:
                allowed = ", ".join(repr(kind.value) for kind in kinds[name])
                raise BadArgument(f"params: {key} is one of {allowed}, not {value!r}") from None
    return checked


def _page(img: Any) -> Any:
    """What RapidOCR takes for the same picture: a Pillow image, or an array in BGR."""
    import cv2

    if is_encoded(img):
        return _upright(plain_bytes(img))
    channels = img.shape[2] if img.ndim == 3 else 1
    if img.dtype != np.uint8 or img.ndim not in (2, 3) or not 1 <= channels <= 4 or not img.size:
        raise ValueError(
            "an image is an array of uint8, (height, width) or with 1 to 4 channels,"
            f" and has pixels; this one is {img.dtype} {img.shape}"
        )
    return cv2.cvtColor(img, cv2.COLOR_RGB2BGR) if channels == 3 else img


def _upright(data: Any) -> Any:
    from PIL import Image as Pillow
    from PIL import ImageOps, UnidentifiedImageError

    try:
        opened = Pillow.open(BytesIO(data))
    except UnidentifiedImageError:
        raise UnidentifiedImageError("these bytes are no image that Pillow can read") from None
    upright = ImageOps.exif_transpose(opened)
    if upright.mode in _AS_THEY_ARE:
        return upright
    return upright.convert("RGBA" if upright.has_transparency_data else "RGB")
