"""What is made of what the host gives: the library's own forms of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from sharedmodel.tensor import Array

Weights = dict[str, float]

_KEYS: Final = {"dense": "dense_vecs", "sparse": "lexical_weights", "colbert": "colbert_vecs"}


class Gathered:
    """Results of so many texts, as they come in parts."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._dense: Array | None = None
        self._lists: dict[str, list[Any]] = {name: [None] * count for name in ("sparse", "colbert")}

    def put(self, places: Sequence[int], told: dict[str, Array]) -> None:
        """What the host told of the texts at these places."""
        if "dense" in told:
            if self._dense is None:
                self._dense = np.empty((self._count, told["dense"].shape[1]), told["dense"].dtype)
            self._dense[places] = told["dense"]
        if "counts" in told:
            ends = told["counts"].cumsum()
            for place, end, count in zip(places, ends, told["counts"], strict=True):
                here = slice(end - count, end)
                named = zip(map(str, told["tokens"][here].tolist()), told["weights"][here], strict=True)
                self._lists["sparse"][place] = defaultdict(int, named)
        if "lengths" in told:
            vectors = np.split(told["colbert"], told["lengths"].cumsum()[:-1])
            for place, found in zip(places, vectors, strict=True):
                self._lists["colbert"][place] = found

    def formed(self, wanted: dict[str, bool], single: bool) -> dict[str, Any]:
        """The dictionary of `encode`; of a single text, its first."""
        found: dict[str, Any] = {"dense": self._dense, **self._lists}
        return {
            key: None if not wanted[name] else found[name][0] if single else found[name] for name, key in _KEYS.items()
        }


def scores_of(found: Array, batch_size: int, weights: Any) -> dict[str, list[float]]:
    """The scores of pairs, (pairs, 5) as the host has them, with the library's batches of so many.

    ``weights``: of dense, lexical and ColBERT scores; None: all 1.
    """
    dense, sparse, plain, padded, tokens = found.T
    late = np.concatenate(
        [
            np.where(tokens[part] < tokens[part].max(), padded[part], plain[part])
            for part in (slice(start, start + batch_size) for start in range(0, len(found), batch_size))
        ]
    )
    of_dense, of_sparse, of_late = [1.0, 1.0, 1.0] if weights is None else weights
    with np.errstate(all="ignore"):
        two = (sparse * of_sparse + dense * of_dense) / np.float64(of_sparse + of_dense)
        three = (late * of_late + sparse * of_sparse + dense * of_dense) / np.float64(of_dense + of_sparse + of_late)
    return {
        "colbert": late.tolist(),
        "sparse": sparse.tolist(),
        "dense": dense.tolist(),
        "sparse+dense": two.tolist(),
        "colbert+sparse+dense": three.tolist(),
    }


def matching_score(one: Weights, other: Weights) -> float:
    """What the weights of tokens that both have make together."""
    scores: float = 0
    for token, weight in one.items():
        if token in other:
            scores += weight * other[token]
    return scores
