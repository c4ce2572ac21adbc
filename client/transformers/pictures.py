"""Pictures as a pipeline takes them, made ready to cross: files as their bytes, read here; the rest as arrays."""

from __future__ import annotations

import base64
import binascii
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np

from sharedmodel.client.refusing import refuse

_BYTES: Final = "<_io.BytesIO object at 0x"
_OURS: Final = {"UnidentifiedImageError": "", "DecompressionBombError": "Image"}  # in which module of PIL


def crossing(image: Any) -> Any:
    """A path, text in base 64, a picture of PIL's, an array or a tensor. Raises what the library raises."""
    if isinstance(image, str):
        return _of_text(image)
    pil = sys.modules.get("PIL.Image")
    if pil is not None and isinstance(image, pil.Image):
        from PIL import ImageOps

        return {"rgb": np.asarray(ImageOps.exif_transpose(image).convert("RGB"))}
    if isinstance(image, np.ndarray):
        return image
    if type(image).__module__.partition(".")[0] == "torch":
        return image.numpy()
    raise TypeError(
        "Incorrect format used for image. Should be an url linking to an image, a base64 string, a local path, "
        "or a PIL image."
    )


def _of_text(text: str) -> bytes:
    if text.startswith(("http://", "https://")):
        refuse("a picture by its URL", "download it, and give the file")
    if os.path.isfile(text):
        with open(text, "rb") as file:
            return file.read()
    plain = text.partition(",")[2] if text.startswith("data:image/") else text
    try:
        return base64.decodebytes(plain.encode())
    except (binascii.Error, UnicodeEncodeError) as exc:
        raise _no_source(text, exc) from None


@contextmanager
def told_of(images: Any) -> Iterator[None]:
    """Of a file that is no picture, PIL's own exception with the file's name."""
    try:
        yield
    except OSError as exc:
        text = str(exc)
        if _BYTES not in text or not isinstance(images, str):
            raise
        if not os.path.isfile(images):  # it was taken for base 64
            raise _no_source(images, exc) from exc.__cause__
        start = text.index(_BYTES)
        raise type(exc)(f"{text[:start]}{images!r}{text[text.index('>', start) + 1 :]}") from exc.__cause__


def twin_of(type_name: str, text: str) -> Exception | None:
    """PIL's exceptions: its own where PIL is installed, else what they are by kind."""
    package, _, name = type_name.rpartition(".")
    if name not in _OURS or package.partition(".")[0] != "PIL":
        return None
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        return OSError(text)
    return UnidentifiedImageError(text) if name == "UnidentifiedImageError" else Image.DecompressionBombError(text)


def _no_source(text: str, why: object) -> ValueError:
    return ValueError(
        "Incorrect image source. Must be a valid URL starting with `http://` or `https://`, a valid path to an image "
        f"file, or a base64 encoded string. Got {text}. Failed with {why}"
    )
