"""How well two texts go together, by their dense, lexical and ColBERT vectors. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from sharedmodel.tensor import Array

from .results import Results

_AT_ONCE: Final = 1 << 20  # products of tokens; two texts of 8,192 would be 64 times as many


class Score(NamedTuple):
    """Of one pair. ``padded``: what ``colbert`` is beside a longer passage, where FlagEmbedding takes the padding
    for a token that no other goes with: no maximum is below 0 then. ``tokens``: of the passage."""

    dense: float
    sparse: float
    colbert: float
    padded: float
    tokens: int


def score(results: Results, query: int, passage: int, tokens: int) -> Score:
    """Of the texts at two places."""
    dense = float(results.dense(query) @ results.dense(passage))
    return Score(dense, _lexical(results, query, passage), *_late(results, query, passage), tokens)


def _lexical(results: Results, query: int, passage: int) -> float:
    (ours, one), (theirs, other) = results.lexical[query], results.lexical[passage]
    _, here, there = np.intersect1d(ours, theirs, assume_unique=True, return_indices=True)
    return float(one[here] @ other[there])


def _late(results: Results, query: int, passage: int) -> tuple[float, float]:
    ours, theirs = results.colbert(query), results.colbert(passage)
    size = max(1, _AT_ONCE // len(theirs))
    best = np.concatenate([_best(ours[start : start + size], theirs) for start in range(0, len(ours), size)])
    return float(best.sum() / len(best)), float(np.maximum(best, 0).sum() / len(best))


def _best(some: Array, theirs: Array) -> Array:
    found: Array = (some @ theirs.T).max(1)
    return found
