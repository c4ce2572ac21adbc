"""What is made of vectors after the host has given them: cut, scaled, rounded, and in the form that was asked for."""

from __future__ import annotations

import logging
from typing import Any, Final

import numpy as np

from sharedmodel.tensor import Array

PRECISIONS: Final = {"float32", "int8", "uint8", "binary", "ubinary"}
_SHORT: Final = 1e-12
_FEW: Final = 100
_STEPS: Final = 255

logger = logging.getLogger("sentence_transformers.util.quantization")


def scaled(vectors: Array) -> Array:
    """Each to length 1, all zeros excepted."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: Array = vectors / np.maximum(lengths, _SHORT)
    return found


def rounded(vectors: Array, precision: str) -> Array:
    """Vectors (n, size) in fewer bits: bytes over the range of each column, or one bit for each number's sign.

    Raises ValueError for bytes of a single vector, which has no range.
    """
    if precision in ("binary", "ubinary"):
        bits = np.packbits(vectors > 0, axis=-1)
        return bits if precision == "ubinary" else (bits - 128).astype(np.int8)
    lowest, highest = _ranges(vectors, precision)
    step = (highest - lowest) / _STEPS
    step = np.where(step == 0, 1, step)
    counted = np.clip(np.floor((vectors - lowest) / step), 0, _STEPS)
    return counted.astype(np.uint8) if precision == "uint8" else (counted - 128).astype(np.int8)


def formed(vectors: Array | None, *, numpy: bool, tensor: bool, single: bool) -> Any:
    """An array, one tensor, or a list of tensors; of a single text, its first. ``vectors`` None: there are none."""
    if tensor or not numpy:
        import torch

        found: Any = torch.tensor([]) if vectors is None else torch.from_numpy(vectors)
        if not tensor:
            found = [] if vectors is None else list(found)
    else:
        found = np.array([]) if vectors is None else vectors
    return found[0] if single else found


def _ranges(vectors: Array, precision: str) -> tuple[Array, Array]:
    if len(vectors) == 1:
        raise ValueError(
            f"Cannot compute {precision} quantization ranges from a single embedding. Call `quantize_embeddings` with "
            "`ranges` or `calibration_embeddings` from a representative set of embeddings instead."
        )
    if len(vectors) < _FEW:
        logger.warning(
            "Computing %s quantization buckets based on %d embeddings: it is more stable with more of them.",
            precision,
            len(vectors),
        )
    return vectors.min(axis=0), vectors.max(axis=0)
