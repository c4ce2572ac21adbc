"""What a model that was never loaded will take, by the files that it is made of."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

FACTOR: Final = 2.0  # onnxruntime holds weights twice: as they came, and packed for the processor
MOST: Final = 10_000
LEAST: Final = 64 << 20  # a library and its buffers, where the files are tiny or unknown


def estimate(paths: Iterable[str | os.PathLike[str]], factor: float = FACTOR) -> int:
    """The size of files and folders times ``factor``, in bytes; at least 64 MiB.

    Weights that lie beside a file count with it where their names begin with its own (`model.onnx` and
    `model.onnx.data`). A file that is not there counts nothing; one that is named twice counts once. Of a folder
    at most 10,000 files are looked at: one with more is no model's.
    """
    files = (file for path in paths for file in islice(_files(os.fspath(path)), MOST))
    sizes = dict(found for file in files if (found := _identity_and_size(file)) is not None)
    return max(LEAST, int(factor * sum(sizes.values())))


def _files(path: str) -> Iterator[str]:
    if os.path.isdir(path):
        for folder, _, names in os.walk(path):
            yield from (os.path.join(folder, name) for name in names)
        return
    folder, name = os.path.split(os.path.abspath(path))
    try:
        beside = os.listdir(folder)
    except OSError:
        return
    yield from (os.path.join(folder, other) for other in beside if other == name or _is_part(other, name))


def _is_part(other: str, name: str) -> bool:
    return other.startswith((f"{name}.", f"{name}_"))


def _identity_and_size(path: str) -> tuple[tuple[int, int], int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino), found.st_size
