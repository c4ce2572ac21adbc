"""Pages as pictures on which their lines are drawn: boxes, and the text, or its translation, over them."""

from __future__ import annotations

import io
import os
from functools import cache, lru_cache
from typing import Any, ClassVar, Final

import numpy as np

from .page import Page
from .texts import Texts

_INK, _EDGE, _FILL = (24, 21, 48, 255), (79, 70, 229, 255), (240, 239, 254, 255)
_PLACES: Final = ("/usr/share/fonts", "/usr/local/share/fonts", os.path.expanduser("~/.fonts"))
_MEASURE: Final = 32  # the size at which a text is measured
# With Chinese first; the last ones have the letters of Europe.
_FONTS: Final = (
    "NotoSansCJK-Regular.ttc", "NotoSansSC-Regular.otf", "wqy-microhei.ttc", "DroidSansFallbackFull.ttf",
    "NotoSans-Regular.ttf", "DejaVuSans.ttf",
)  # fmt: skip


class Pictures(Texts):
    """``a.jpg`` becomes ``a.jpg.png``, with boxes and texts drawn on it. Needs Pillow."""

    suffix: ClassVar[str] = ".png"

    def __init__(
        self, folder: str | os.PathLike[str], *, restart: bool = False, font: str | os.PathLike[str] | None = None
    ) -> None:
        """``font``: a TrueType or OpenType file; else one that the system has."""
        super().__init__(folder, restart=restart)
        self._font = font if font is None else os.fspath(font)

    def made(self, page: Page) -> bytes:
        file = io.BytesIO()
        drawn(page, self._font).save(file, "PNG", compress_level=3)
        return file.getvalue()


def drawn(page: Page, font: str | None = None) -> Any:
    """The page's picture, of Pillow, with its lines on it, as far as they tell where."""
    from PIL import Image, ImageDraw

    picture = _opened(page).convert("RGB")
    over = Image.new("RGBA", picture.size, (0, 0, 0, 0))
    pen = ImageDraw.Draw(over)
    for line in page.lines:
        if "box" not in line:
            continue
        corners = [(float(x), float(y)) for x, y in line["box"]]
        pen.polygon(corners, fill=_FILL, outline=_EDGE, width=max(1, min(picture.size) // 300))
        _write(over, line.get("translation", line["text"]), np.array(corners), font)
    picture.paste(over, mask=over)
    return picture


def _opened(page: Page) -> Any:
    from PIL import Image, ImageOps

    image = page.image
    if isinstance(image, np.ndarray):
        return Image.fromarray(image)
    return ImageOps.exif_transpose(Image.open(io.BytesIO(image)))  # upright, as it was read


def _write(over: Any, text: str, corners: Any, font: str | None) -> None:
    """The text as large as its box allows, turned as the box is."""
    from PIL import Image, ImageDraw

    along, down = corners[1] - corners[0], corners[3] - corners[0]
    width, height = int(np.hypot(*along)), int(np.hypot(*down))
    if not text or width < 4 or height < 4:
        return
    left, _, right, _ = _face(font, _MEASURE).getbbox(text)
    fitting = _MEASURE * 0.96 * width / max(1, right - left)
    face = _face(font, max(4, int(min(height * 0.82, fitting))))
    label = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    ImageDraw.Draw(label).text((width * 0.02, height / 2), text, font=face, fill=_INK, anchor="lm")
    angle = float(np.degrees(np.arctan2(along[1], along[0])))
    turned = label.rotate(-angle, expand=True, resample=Image.Resampling.BICUBIC)
    x, y = corners.mean(axis=0)
    over.alpha_composite(turned, (max(0, int(x - turned.width / 2)), max(0, int(y - turned.height / 2))))


@lru_cache(64)
def _face(font: str | None, size: int) -> Any:
    from PIL import ImageFont

    path = font or _system_font()
    return ImageFont.load_default(size) if path is None else ImageFont.truetype(path, size)


@cache
def _system_font() -> str | None:
    there = {}
    for place in _PLACES:
        for folder, _, names in os.walk(place):
            there.update({name: os.path.join(folder, name) for name in names if name in _FONTS})
    return next((there[name] for name in _FONTS if name in there), None)
