"""What one call is given: its results, filled in as the runs come in whatever order they do. Pure.

A run's outputs are of all rows that shared it; each row is put into the results of its own call, at once and
once only: dense and ColBERT vectors into memory where the caller will read them, scaled on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from sharedmodel.tensor import Array

_SHORT: Final = 1e-12  # against a vector of length 0

Empty = Callable[[Any, Any], Array]


class Wanted(NamedTuple):
    """``truncate``: so many numbers of each vector, as a slice's end; ``normalize``: scaled to length 1."""

    dense: bool = True
    sparse: bool = False
    colbert: bool = False
    normalize: bool = True
    truncate: int | None = None

    def outputs(self) -> set[str]:
        """Which outputs of the graph it takes."""
        return {name for name in ("dense", "sparse", "colbert") if getattr(self, name)}


class Sizes(NamedTuple):
    """Of the model's vectors."""

    dense: int
    colbert: int


class Results:
    """Of one call, for texts of so many tokens each."""

    def __init__(self, lengths: Sequence[int], wanted: Wanted, sizes: Sizes, empty: Empty = np.empty) -> None:
        """``empty`` gives memory for the vectors."""
        self.wanted = wanted
        self.lexical: list[tuple[Array, Array]] = [_NOTHING] * len(lengths)
        self._dense = self._colbert = None
        if wanted.dense:
            self._dense = empty((len(lengths), _cut(sizes.dense, wanted.truncate)), np.float32)
        self._starts = np.concatenate([[0], np.cumsum([length - 1 for length in lengths])]).astype(int)
        if wanted.colbert:
            self._colbert = empty((int(self._starts[-1]), _cut(sizes.colbert, wanted.truncate)), np.float32)

    def put(self, place: int, row: int, ids: Sequence[int], outputs: Mapping[str, Array], unused: Array) -> None:
        """The text at ``place`` was in this row of a run. ``unused``: tokens without a weight."""
        if self._dense is not None:
            self._dense[place] = outputs["dense"][row, : self.wanted.truncate]
        if self.wanted.sparse:
            self.lexical[place] = weights_of(np.asarray(ids), outputs["sparse"][row, : len(ids)], unused)
        if self._colbert is not None:
            self.colbert(place)[...] = outputs["colbert"][row, : len(ids) - 1, : self.wanted.truncate]

    def scaled(self) -> Results:
        """All of it is there: scale it, if that is wanted; itself."""
        if self.wanted.normalize:
            for vectors in (self._dense, self._colbert):
                if vectors is not None:
                    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
                    np.divide(vectors, np.maximum(lengths, _SHORT)[:, None], out=vectors)
        return self

    def dense(self, place: int) -> Array:
        """A text's vector, (size,)."""
        assert self._dense is not None
        found: Array = self._dense[place]
        return found

    def colbert(self, place: int) -> Array:
        """A text's vectors, (tokens - 1, size)."""
        assert self._colbert is not None
        found: Array = self._colbert[self._starts[place] : self._starts[place + 1]]
        return found

    def told(self) -> dict[str, Any]:
        """As it crosses: "dense" (texts, size); "tokens" and "weights", one after the other, with "counts" of each
        text; "colbert" (tokens, size), one text after the other, with "lengths" of each."""
        told: dict[str, Any] = {}
        if self._dense is not None:
            told["dense"] = self._dense
        if self.wanted.sparse:
            told["tokens"] = np.concatenate([ids for ids, _ in (_NOTHING, *self.lexical)])
            told["weights"] = np.concatenate([weights for _, weights in (_NOTHING, *self.lexical)])
            told["counts"] = np.array([len(ids) for ids, _ in self.lexical], np.int32)
        if self._colbert is not None:
            told["colbert"], told["lengths"] = self._colbert, np.diff(self._starts).astype(np.int32)
        return told


def weights_of(ids: Array, weights: Array, unused: Array) -> tuple[Array, Array]:
    """The largest weight of each token that has one, in the order in which they first come up."""
    counts = (weights > 0) & ~np.isin(ids, unused)
    ids, weights = ids[counts], weights[counts]
    found, first, which = np.unique(ids, return_index=True, return_inverse=True)
    largest = np.zeros(len(found), np.float32)
    np.maximum.at(largest, which, weights)
    order = np.argsort(first)
    return found[order].astype(np.int32), largest[order]


def all_outputs(several: Collection[Wanted]) -> set[str]:
    """What a run has to make for all of its calls."""
    return set().union(*(wanted.outputs() for wanted in several))


def _cut(size: int, truncate: int | None) -> int:
    return len(range(size)[:truncate])


_NOTHING: Final = (np.empty(0, np.int32), np.empty(0, np.float32))
