"""The functions of sentence_transformers.util that say how alike vectors are. torch is imported by the first call."""

from __future__ import annotations

from typing import Any

from .similarity import pairwise, similarity

__all__ = [
    "cos_sim",
    "dot_score",
    "euclidean_sim",
    "manhattan_sim",
    "pairwise_cos_sim",
    "pairwise_dot_score",
    "pairwise_euclidean_sim",
    "pairwise_manhattan_sim",
    "pytorch_cos_sim",
]


def cos_sim(a: Any, b: Any) -> Any:
    """A tensor (n, m) of cosines."""
    return similarity("cosine", a, b)


def pytorch_cos_sim(a: Any, b: Any) -> Any:
    """The old name of `cos_sim`."""
    return similarity("cosine", a, b)


def dot_score(a: Any, b: Any) -> Any:
    """A tensor (n, m) of dot products."""
    return similarity("dot", a, b)


def euclidean_sim(a: Any, b: Any) -> Any:
    """A tensor (n, m) of distances, negative: the larger, the more alike."""
    return similarity("euclidean", a, b)


def manhattan_sim(a: Any, b: Any) -> Any:
    """A tensor (n, m) of distances along the axes, negative."""
    return similarity("manhattan", a, b)


def pairwise_cos_sim(a: Any, b: Any) -> Any:
    """A tensor (n): the cosine of each pair."""
    return pairwise("cosine", a, b)


def pairwise_dot_score(a: Any, b: Any) -> Any:
    """A tensor (n): the dot product of each pair."""
    return pairwise("dot", a, b)


def pairwise_euclidean_sim(a: Any, b: Any) -> Any:
    """A tensor (n): the distance of each pair, negative."""
    return pairwise("euclidean", a, b)


def pairwise_manhattan_sim(a: Any, b: Any) -> Any:
    """A tensor (n): the distance of each pair along the axes, negative."""
    return pairwise("manhattan", a, b)


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    raise AttributeError(
        f"sentence_transformers.util.{name} is not part of this stand-in; it has: {', '.join(__all__)}"
    )
