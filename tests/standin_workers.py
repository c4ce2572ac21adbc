"""What other processes do with stand-ins; nothing here loads their libraries."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import sharedmodel.client.onnxruntime as ort

HEAVY = {"onnxruntime", "cnocr", "torch", "cv2", "PIL", "rapidocr"}


def added(session: ort.InferenceSession, number: int) -> tuple[list[float], list[str]]:
    """The sum of two arrays, and which heavy libraries this process has loaded."""
    (z,) = session.run(None, {"x": np.full(3, number, "f4"), "y": np.ones(3, "f4")})
    return z.tolist(), sorted(HEAVY & set(sys.modules))


def mistake(session: ort.InferenceSession) -> Any:
    """Raises InvalidArgument."""
    return session.run(None, {"x": np.ones(3), "y": np.ones(3, "f4")})


def lines_of(ocr: Any, path: str) -> tuple[Any, list[str]]:
    """What is read on a page, and which heavy libraries this process has loaded."""
    return ocr.ocr(path), sorted(HEAVY & set(sys.modules))


if __name__ == "__main__":
    print(added(ort.InferenceSession(sys.argv[1]), 1))
