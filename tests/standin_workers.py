"""What other processes do with stand-ins; nothing here loads their libraries."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import sharedmodel.client.onnxruntime as ort

HEAVY = {
    "onnxruntime", "cnocr", "cnstd", "torch", "cv2", "PIL", "rapidocr", "transformers", "tokenizers",
    "sentence_transformers", "fastembed", "FlagEmbedding", "sentencepiece", "ctranslate2",
}  # fmt: skip


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


def boxes_of(std: Any, path: str) -> tuple[Any, list[str]]:
    """Where text is on a page, and which heavy libraries this process has loaded."""
    return std.detect(path), sorted(HEAVY & set(sys.modules))


def dense_of(model: Any, texts: list[str]) -> tuple[Any, list[str]]:
    """The vectors of texts by a BGEM3FlagModel, and which heavy libraries this process has loaded."""
    return model.encode(texts)["dense_vecs"], sorted(HEAVY & set(sys.modules))


def poses_of(pose: Any, picture: Any, boxes: Any) -> tuple[Any, list[str]]:
    """The poses in a picture, and which heavy libraries this process has loaded but OpenCV, which it needs."""
    return pose.estimate(picture, boxes), sorted(HEAVY & set(sys.modules) - {"cv2"})


def vectors_of(model: str, texts: list[str]) -> tuple[Any, list[str]]:
    """The vectors of texts by a SentenceTransformer made here, and which heavy libraries this process has loaded."""
    from sharedmodel.client.sentence_transformers import SentenceTransformer

    return SentenceTransformer(model).encode(texts), sorted(HEAVY & set(sys.modules))


def translations_of(model: str, texts: list[str]) -> tuple[Any, list[str]]:
    """The translations of texts by a pipeline made here, and which heavy libraries this process has loaded."""
    from sharedmodel.client.transformers import pipeline

    return pipeline("translation", model=model)(texts), sorted(HEAVY & set(sys.modules))


def piped(sent: Any, task: str, model: str, inputs: Any) -> tuple[Any, Any, list[str]]:
    """What a pipeline that was sent here and one made here give, and which heavy libraries this process has loaded."""
    from sharedmodel.client.transformers import pipeline

    return sent(inputs), pipeline(task, model=model)(inputs), sorted(HEAVY & set(sys.modules))


def passages_of(model: Any, texts: list[str]) -> tuple[Any, list[str]]:
    """The vectors of texts by a TextEmbedding, and which heavy libraries this process has loaded."""
    return list(model.passage_embed(texts)), sorted(HEAVY & set(sys.modules))


if __name__ == "__main__":
    print(added(ort.InferenceSession(sys.argv[1]), 1))
