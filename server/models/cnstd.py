"""Where text is on a page, by CnStd, with the real models that the rapidocr wheel holds.

Any number of threads may have pages looked at at once (see `rapid`). Detectors of CnStd's older kinds, which are
built otherwise, are called one at a time instead.

A call is mostly onnxruntime and OpenCV, which release the GIL; what is left to Python are loops over boxes. It
has a host of its own by default, where there are other models.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from .lending import Lent
from .rapid import (
    BUNDLED,
    Image,
    bundled,
    decoded,
    engine_config,
    importing,
    is_copyable,
    is_encoded,
    own_detector,
    plain_bytes,
    restrained,
    warm_up_page,
    without_threads,
)

_CLASSIFIER: Final = "ch_ppocr_mobile_v2.0_cls"


class CnStdModel:
    """One CnStd, safe to call from many threads at once.

    model_name  CnStd's; "multi_PP-OCRv6_det_small" comes from the rapidocr wheel, any other needs model_fp, or
                CnStd downloads it
    model_fp    the detector's own file
    use_angle_clf      turn what lies upside down
    angle_clf_configs  of the classifier that tells; its model comes from the wheel as well
    angle_clf_fp       the classifier's own file
    threads     processors that a page may use while it is the only one (of several at once each takes one); None
                takes every one that this process may
    warm_up     look at a small page at once, so that the first caller doesn't pay for it
    options     go to CnStd as they are

    Images are arrays as CnStd takes them, (height, width, 3), or an image file's bytes, read as CnStd reads the file.
    """

    def __init__(
        self,
        model_name: str = "multi_PP-OCRv6_det_small",
        *,
        model_fp: str | None = None,
        use_angle_clf: bool = False,
        angle_clf_configs: dict[str, Any] | None = None,
        angle_clf_fp: str | None = None,
        threads: int | None = None,
        warm_up: bool = True,
        **options: Any,
    ) -> None:
        with importing(options.get("model_backend")):
            from cnstd import CnStd
        classifier = dict(angle_clf_configs or {})
        if use_angle_clf:
            classifier["model_fp"] = _classifier_file(angle_clf_fp, classifier)

        def made(threads: int) -> Any:
            engine = {"engine_cfg": engine_config(threads)} if "PP-OCR" in model_name else {}
            std = CnStd(
                model_name,
                model_fp=_detector_file(model_fp, model_name),
                use_angle_clf=use_angle_clf,
                angle_clf_configs=classifier,
                **engine | options,
            )
            if use_angle_clf:
                restrained(std.angle_clf, threads)
            return std

        self._lent = Lent(made, threads, own_detector, "looking at the page", is_copyable)
        self._space = str(self._lent.wide.space)
        self._single = is_copyable(self._lent.wide)
        if warm_up:
            self.detect(warm_up_page())

    def detect(self, img_list: Image | Sequence[Image], pictures: Collection[int] = (), **options: Any) -> Any:
        """As `CnStd.detect`: {"rotated_angle", "detected_texts": [{"box", "score", "cropped_img"}]}, or a list of
        them for a list of images.

        ``pictures``: which images of a list were PIL's, (height, width, 3): older detectors scale these otherwise.
        """
        with self._lent.to_call() as std, self._readable() as readable:
            if not isinstance(img_list, list | tuple):
                return std.detect(readable(img_list), **options)
            return std.detect([readable(img, number in pictures) for number, img in enumerate(img_list)], **options)

    def canary(self) -> dict[str, Any]:
        """A first call to make: the small page."""
        return {"method": "detect", "args": (warm_up_page(),)}

    def card(self) -> dict[str, Any]:
        """Which family the detector is of, and whether it looks at each image by itself."""
        return {"space": self._space, "single": self._single}

    @staticmethod
    def compared(options: dict[str, Any]) -> dict[str, Any]:
        """The options as they are told apart: with the files that are taken, without threads."""
        full = {**options, "model_fp": _detector_file(options.get("model_fp"), options.get("model_name"))}
        if full.get("use_angle_clf"):
            configs = dict(full.get("angle_clf_configs") or {})
            full["angle_clf_fp"] = _classifier_file(full.get("angle_clf_fp"), configs)
            full["angle_clf_configs"] = {key: value for key, value in configs.items() if key != "model_fp"}
        full["engine_cfg"] = without_threads(full.get("engine_cfg") or {})
        return full

    def close(self) -> None:
        """Lets the models go. Calls that are running keep them until they are done."""
        self._lent.close()

    @contextmanager
    def _readable(self) -> Iterator[Any]:
        """What makes of an image one that the detector takes. Older ones read files in ways of their own."""
        with ExitStack() as files:

            def readable(img: Any, picture: bool = False) -> Any:
                if self._single:
                    return decoded(img)
                if is_encoded(img):
                    return files.enter_context(_file(plain_bytes(img)))
                return _pillow(img) if picture else img

            yield readable


@contextmanager
def _file(data: Any) -> Iterator[str]:
    """A file in memory; its path in this process."""
    fd = os.memfd_create("page")
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(data)
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def _pillow(img: Any) -> Any:
    from PIL import Image as Pillow

    return Pillow.fromarray(img)


def _detector_file(given: str | None, name: Any) -> str | None:
    return bundled(name) if given is None and name in BUNDLED else given


def _classifier_file(given: str | None, configs: dict[str, Any]) -> str | None:
    found = given or configs.get("model_fp")
    known = configs.get("model_name", _CLASSIFIER) == _CLASSIFIER
    return bundled(_CLASSIFIER) if found is None and known else found
