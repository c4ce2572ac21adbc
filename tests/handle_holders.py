"""Processes that put and open handles, for the tests of those: each talks by lines (see `crowd.Child`)."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from sharedmodel.client import connect


def total(data: bytes) -> tuple[float, bool]:
    """For a pool's worker: of what a pickled handle stands for."""
    array = pickle.loads(data).open()
    return float(array.sum()), bool(array.flags.writeable)


def put_and_wait(address: str, path: str, lease: float) -> None:
    """Put an array, leave the pickled handle in a file, and hold it."""
    handle = connect(address).put(np.arange(100_000.0), lease)
    _leave(path, pickle.dumps(handle))
    _forever(handle)


def open_and_wait(path: str, mark: str) -> None:
    """Open the handle in a file, say so, and hold the array alone."""
    array = pickle.loads(Path(path).read_bytes()).open()
    _leave(mark, str(float(array.sum())).encode())
    _forever(array)


def _leave(path: str, data: bytes) -> None:
    Path(f"{path}~").write_bytes(data)
    Path(f"{path}~").rename(path)


def _forever(kept: Any) -> None:
    import threading

    threading.Event().wait(600)
    del kept
