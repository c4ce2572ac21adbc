"""The pages of a TIFF, as scanners and fax machines put several into one file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from .page import Page

SUFFIXES: Final = (".tif", ".tiff")


def count(path: str) -> int:
    """How many pages a TIFF has; 1 of what can't be looked into: whoever reads it says why, if it matters."""
    try:
        from PIL import Image

        with Image.open(path) as image:
            return int(getattr(image, "n_frames", 1))
    except Exception:  # without Pillow, or a file that is none
        return 1


def pages(path: str, numbers: int, wanted: Callable[[Page], bool]) -> Iterator[Page]:
    """Those that are ``wanted``, each when its turn comes; one that can't be read has an error."""
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        for number in range(numbers):
            if not wanted(page := Page(path, number + 1)):
                continue
            try:
                image.seek(number)
                upright = ImageOps.exif_transpose(image)
                picture = np.asarray(upright.convert("RGB"))
            except Exception as exc:
                page.error = exc
                yield page
            else:
                yield Page(path, number + 1, picture)
