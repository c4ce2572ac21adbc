"""Small pictures and PDFs for tests."""

from __future__ import annotations

import io
from pathlib import Path


def picture(width: int = 60, height: int = 40, form: str = "PNG") -> bytes:
    """A white picture as a file."""
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (width, height), "white").save(file, form)
    return file.getvalue()


def folder(path: Path, widths: range) -> Path:
    """A folder with a picture for each width."""
    path.mkdir(parents=True)
    for width in widths:
        (path / f"{width:04}.png").write_bytes(picture(width))
    return path


def pdf(path: Path, widths: range) -> Path:
    """A PDF with a page for each width, in points; each is 40 high."""
    from PIL import Image

    first, *rest = [Image.new("RGB", (width, 40), "white") for width in widths]
    first.save(path, save_all=True, append_images=rest, resolution=72)
    return path
