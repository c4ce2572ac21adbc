"""Images as cnocr and cnstd take them, made ready to cross: files as their bytes, read here; the rest as arrays."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from sharedmodel.errors import RemoteError, SharedModelError
from sharedmodel.tensor import Array

from .onnxruntime.capi.onnxruntime_pybind11_state import twin_of
from .raising import as_the_library

_UNIDENTIFIED: Final = "PIL.UnidentifiedImageError"


def contents(path: str | Path) -> bytes:
    """What is in a file. Raises FileNotFoundError as the libraries do, OSError."""
    if not os.path.isfile(path):
        raise FileNotFoundError(path)
    with open(path, "rb") as file:
        return file.read()


def crossing(image: Array) -> Array:
    """One row of bytes would be taken for a file; of another type it is the mistake that it is."""
    return image.view(np.int8) if image.ndim == 1 and image.dtype == np.uint8 else image


def is_a(value: Any, module: str, name: str) -> bool:
    """Whether it is of a class of a library that may not be loaded: then it is not."""
    found = getattr(sys.modules.get(module), name, None)
    return found is not None and isinstance(value, found)


@contextmanager
def told_of(*images: Any, strictly: bool = False) -> Iterator[None]:
    """Raise the library's own exceptions; of a file that is no image, with its name.

    ``strictly``: as a detector, which says what was wrong; otherwise as a recogniser, which finds no file.
    """
    try:
        with as_the_library(twin_of):
            yield
    except Exception as exc:
        paths = [image for image in images if isinstance(image, str | Path)]
        if not paths or not _is_unreadable(exc, strictly):
            raise
        raise _no_image(paths, strictly) from exc.__cause__


def _is_unreadable(exc: Exception, strictly: bool) -> bool:
    name = exc.type_name if isinstance(exc, RemoteError) else f"{type(exc).__module__}.{type(exc).__qualname__}"
    if strictly:
        return name == _UNIDENTIFIED
    ours = isinstance(exc, SharedModelError) and not isinstance(exc, RemoteError)
    return not ours and (isinstance(exc, OSError | SyntaxError) or name.startswith("PIL."))


def _no_image(paths: list[Any], strictly: bool) -> Exception:
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:  # its parent, then, and the first one
        message = f"cannot identify image file {os.fspath(paths[0])!r}"
        return OSError(message) if strictly else FileNotFoundError(f"Error loading image: {paths[0]}")
    if strictly:
        return UnidentifiedImageError(f"cannot identify image file {os.fspath(paths[0])!r}")
    return FileNotFoundError(f"Error loading image: {next(filter(partial(_fails, Image), paths), paths[0])}")


def _fails(pillow: Any, path: Any) -> bool:
    try:
        with pillow.open(path) as image:
            image.load()
    except Exception:  # a decoder raises what it likes
        return True
    return False
