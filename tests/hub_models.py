"""A model on the hub for tests: an embedder of a few numbers, and a file that takes a while to download.

And what other processes ask the hub for: functions for a pool.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
from onnx import TensorProto, helper

from sharedmodel.server.models import hub
from sharedmodel.server.models.embedding import registry
from sharedmodel.server.progress import Progress, heard_by

from .onnx_graphs import build

WORDS: Final = ("[PAD]", "[UNK]", "warm", "up", "cat", "dog")
LARGE: Final = "large.bin"
SIZE: Final = 24 << 20  # of that file: the hub's client takes 10 MiB at a time


def make(folder: Path) -> Path:
    """Fill a new folder."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    folder.mkdir()
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"model_max_length": 32, "pad_token": "[PAD]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "config.json").write_text(json.dumps({"pad_token_id": 0}))
    (folder / "model.onnx").write_bytes(_graph())
    (folder / LARGE).write_bytes(bytes(SIZE))
    (folder / "model.h5").write_bytes(b"weights for another library")
    return folder


def _graph() -> bytes:
    table = np.arange(len(WORDS) * 2, dtype=np.float32).reshape(len(WORDS), 2)
    return build(
        [helper.make_node("Gather", ["table", "input_ids"], ["last_hidden_state"])],
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ("rows", "tokens"))],
        [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ("rows", "tokens", 2))],
        {"table": table},
    )


def ready() -> None:
    """Have the hub's library imported."""
    import huggingface_hub.utils  # noqa: F401


def asked(name: str, revision: str | None = None, env: dict[str, str] | None = None) -> tuple[str, str]:
    """What comes of asking for a model: "" and its folder, or the name of an error's class and its text."""
    return _caught(lambda: hub.from_hub(hub.Repository(name, revision)), env or {})


def _caught(ask: Callable[[], str], env: dict[str, str]) -> tuple[str, str]:
    before = dict(os.environ)
    os.environ.update(env)
    try:
        return "", ask()
    except (OSError, ValueError) as exc:
        return type(exc).__name__, str(exc)
    finally:
        os.environ.clear()
        os.environ.update(before)


def asked_by_threads(name: str, heard: str, count: int) -> list[tuple[str, list[str]]]:
    """Each thread's folder, and what it heard once 10 MiB were there; it then leaves a file in the folder ``heard``."""

    def ask(number: int) -> tuple[str, list[str]]:
        told: list[str] = []

        def hear(progress: Progress | None) -> None:
            if progress is not None and progress.done >= 10 << 20:
                told.append(str(progress))
                Path(heard, f"{os.getpid()}-{number}").touch()

        with heard_by(hear):
            return hub.from_hub(hub.Repository(name)), told

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(ask, range(count)))


def of_fastembed(name: str, cache: str, env: dict[str, str]) -> tuple[str, str]:
    """As `asked`, of a model that fastembed knows by a name of its own."""
    from fastembed.common.model_description import DenseModelDescription, ModelSource

    description = DenseModelDescription(
        model="any", sources=ModelSource(hf=name), model_file="model.onnx", description="", license="",
        size_in_GB=0.01, dim=2,
    )  # fmt: skip
    found = registry.Entry("model.onnx", "mean", False, 0, description)
    return _caught(lambda: registry.folder_of(found, cache, local_only=False), env)


def content(folder: str) -> dict[str, Any]:
    """The sizes of the files in a folder."""
    return {path.name: path.stat().st_size for path in Path(folder).iterdir()}
