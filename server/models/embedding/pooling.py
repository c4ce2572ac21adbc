"""From the vectors of a text's tokens to one vector: the ways that sentence-transformers and fastembed have.

    cls  lasttoken  max  mean  mean_sqrt_len_tokens  weightedmean    and  none: the graph has pooled already

All of a run's rows at once, as matrix products.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np

from sharedmodel.tensor import Array

_TINY: Final = 1e-9  # of both libraries: against a text without a token
_SHORT: Final = 1e-12  # and against a vector of length 0


def pooled(hidden: Array, mask: Array, skips: Sequence[int], modes: Sequence[str]) -> Array:
    """Vectors (rows, sizes of all modes) of hidden states (rows, tokens, size), masked (rows, tokens).

    ``skips``: tokens at the beginning of each row that don't count. Raises ValueError for hidden states that
    are no sequence, where a sequence is to be pooled.
    """
    if tuple(modes) == ("none",):
        if hidden.ndim != 2:
            raise ValueError(f"the graph's output has shape {hidden.shape}; without pooling it is (rows, size)")
        return hidden
    if hidden.ndim == 2 and tuple(modes) == ("cls",):  # fastembed has both under one name
        return hidden
    if hidden.ndim != 3:
        raise ValueError(f"the graph's output has shape {hidden.shape}; to be pooled it is (rows, tokens, size)")
    if any(skips):
        mask = np.where(np.arange(mask.shape[1]) < np.asarray(skips)[:, None], 0, mask)
    found = [MODES[mode](hidden, mask) for mode in modes]
    return found[0] if len(found) == 1 else np.concatenate(found, axis=-1)


def normalized(vectors: Array) -> Array:
    """Scaled to length 1, all zeros excepted."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: Array = vectors / np.maximum(lengths, _SHORT)
    return scaled


def _sum(hidden: Array, weights: Array) -> Array:
    total: Array = np.matmul(weights[:, None, :].astype(hidden.dtype), hidden)[:, 0]
    return total


def _count(weights: Array, hidden: Array) -> Array:
    counted: Array = np.maximum(weights.sum(axis=1, keepdims=True), _TINY).astype(hidden.dtype)
    return counted


def _cls(hidden: Array, mask: Array) -> Array:
    first: Array = hidden[np.arange(len(hidden)), mask.argmax(axis=1)]
    return first


def _last(hidden: Array, mask: Array) -> Array:
    last: Array = hidden[np.arange(len(hidden)), mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)]
    return last


def _max(hidden: Array, mask: Array) -> Array:
    largest: Array = np.where(mask[:, :, None] == 0, -np.inf, hidden).max(axis=1).astype(hidden.dtype)
    return largest


def _mean(hidden: Array, mask: Array) -> Array:
    mean: Array = _sum(hidden, mask) / _count(mask, hidden)
    return mean


def _mean_sqrt(hidden: Array, mask: Array) -> Array:
    mean: Array = _sum(hidden, mask) / np.sqrt(_count(mask, hidden))
    return mean


def _weighted(hidden: Array, mask: Array) -> Array:
    weights: Array = mask * np.arange(1, mask.shape[1] + 1)
    mean: Array = _sum(hidden, weights) / _count(weights, hidden)
    return mean


MODES: Final[Mapping[str, Callable[[Array, Array], Array]]] = MappingProxyType(
    {
        "cls": _cls,
        "lasttoken": _last,
        "max": _max,
        "mean": _mean,
        "mean_sqrt_len_tokens": _mean_sqrt,
        "weightedmean": _weighted,
    }
)
