"""The graph of a model that has weights only: made once, by a process of its own, and kept by content.

    exported(folder)              the host: looks in the cache, else starts the process; imports no torch
    python -m ….export FOLDER TO  that process: PyTorch, transformers and the ONNX exporter, gone when it is done

The cache is $SHAREDMODEL_CACHE, else `sharedmodel` in $XDG_CACHE_HOME or ~/.cache. Names in it are digests
of weights and configuration; whoever comes while a graph is being made waits for it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
from typing import Any, Final

from .files import first_there

VARIABLE: Final = "SHAREDMODEL_CACHE"
_WEIGHTS: Final = ("model.safetensors", "pytorch_model.bin", "model.safetensors.index.json")
_VERSION: Final = b"1"  # of the graphs that this module makes
_INPUTS: Final = ("input_ids", "attention_mask", "token_type_ids")
_TAIL: Final = 2000


def exported(folder: str) -> str:
    """The graph of the model in a folder of transformers. Raises RuntimeError, with what the exporter said."""
    digest = _digest(folder)
    place = _cache()
    path = os.path.join(place, f"{digest}.onnx")
    if os.path.exists(path):
        return path
    os.makedirs(place, mode=0o700, exist_ok=True)
    with open(os.path.join(place, f"{digest}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(path):
            _make(folder, path)
    return path


def _cache() -> str:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.environ.get(VARIABLE) or os.path.join(base, "sharedmodel")


def _digest(folder: str) -> str:
    weights = first_there(folder, *_WEIGHTS)
    if weights is None:
        raise ValueError(f"no weights in {folder}: there is none of {', '.join(_WEIGHTS)}")
    found = hashlib.sha256(_VERSION)
    for path in (os.path.join(folder, "config.json"), *_parts(folder, weights)):
        with open(path, "rb") as file:
            found.update(hashlib.file_digest(file, "sha256").digest())
    return found.hexdigest()


def _parts(folder: str, weights: str) -> list[str]:
    if not weights.endswith(".json"):
        return [weights]
    names = sorted(name for name in os.listdir(folder) if name.endswith(".safetensors"))
    return [weights, *(os.path.join(folder, name) for name in names)]


def _make(folder: str, path: str) -> None:
    beside = f"{path}.{os.getpid()}"
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__, folder, beside],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""},
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"the model in {folder} could not be exported to ONNX: {done.stderr.strip()[-_TAIL:]}")
        os.rename(beside, path)
    finally:
        if os.path.exists(beside):
            os.unlink(beside)


def _export(folder: str, path: str) -> None:
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    typed = int(getattr(model.config, "type_vocab_size", 0) or 0) > 0
    names = _INPUTS if typed else _INPUTS[:2]

    class Hidden(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *given: Any) -> Any:
            return self.model(**dict(zip(names, given, strict=True))).last_hidden_state

    # Two rows, one of them padded: nothing may be taken for a constant, and no mask for all ones.
    ids = torch.tensor([[5, 6, 7, 8], [5, 6, 7, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    axes = {0: "rows", 1: "tokens"}
    with torch.no_grad():
        torch.onnx.export(
            Hidden().eval(), (ids, mask, torch.zeros_like(ids))[: len(names)], path, dynamo=False, opset_version=17,
            input_names=list(names), output_names=["token_embeddings"],
            dynamic_axes={name: axes for name in (*names, "token_embeddings")},
        )  # fmt: skip


if __name__ == "__main__":
    _export(*sys.argv[1:])
