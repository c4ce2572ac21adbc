"""A tiny model in BGE-M3's layout for tests, made by a script of ours and kept between runs; and comparing results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import scripts.pages
import scripts.tiny_bge_m3
from sharedmodel.server.models.made import digest, kept, run_maker

NEEDED = ("onnxruntime", "onnx", "tokenizers", "torch", "transformers", "sentencepiece", "FlagEmbedding")
CLOSE = 1e-5

TEXTS = [
    "Every process on this host calls the same model.",
    "",
    "a",
    "权重只加载一次，从不复制",
    "Tensors stay where they are; only references move. " * 9,
    "Größe, naïve ﬁne １２３ and </s> <mask> between",
    "😀 😀😀 \x00\x01\x7f\u200b",
    "x" * 300,
    *(f"Room {number}, floor {number % 5}, " * (1 + number % 4) for number in range(5)),
]


def tiny_m3() -> str:
    """The model's folder."""
    code = [str(module.__file__) for module in (scripts.tiny_bge_m3, scripts.pages)]
    return kept(
        f"tiny-bge-m3-{digest(code)[:16]}",
        lambda path: run_maker("scripts.tiny_bge_m3", "the tiny model could not be made", "--to", path),
    )


def near(ours: Any, theirs: Any) -> None:
    """Equal types, dtypes, shapes and keys; numbers to 1e-5."""
    assert type(ours) is type(theirs), (ours, theirs)
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key in theirs:
            near(ours[key], theirs[key])
    elif isinstance(theirs, list | tuple):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            near(one, other)
    elif isinstance(theirs, np.ndarray | np.generic | float):
        assert np.asarray(ours).dtype == np.asarray(theirs).dtype and np.shape(ours) == np.shape(theirs)
        np.testing.assert_allclose(ours, theirs, atol=CLOSE, rtol=0)
    else:
        assert ours == theirs


def loads_torch(pid: int) -> bool:
    """Whether a process has PyTorch in its memory."""
    return "libtorch" in Path("/proc", str(pid), "maps").read_text()
