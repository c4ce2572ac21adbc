"""What a worker process does: read a page with the host's model. It loads no model library."""

from __future__ import annotations

import os
from typing import Any, NamedTuple


class Read(NamedTuple):
    """A page that was read: by whom, and its lines."""

    number: int
    pid: int
    lines: tuple[str, ...]


def read(model: Any, number: int, path: str) -> Read:
    """Read one page. The model is a reference; the file is opened here, with this process's rights."""
    found = sorted(model.ocr(path), key=lambda line: float(line["position"][0][1]))
    return Read(number, os.getpid(), tuple(line["text"] for line in found))


def pid() -> int:
    """This worker, for weighing it."""
    return os.getpid()
