"""Which rows run together: sorted by length, as many as a budget of tokens allows, padding included. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from sharedmodel.tensor import Array

_SHORT: Final = 16  # tokens; a run of its own would take longer than filling up


class Row(NamedTuple):
    """One tokenised text. ``skip``: so many tokens at its beginning are not pooled (a prompt's)."""

    ids: Sequence[int]
    types: Sequence[int]
    skip: int = 0


class Padded(NamedTuple):
    """Rows side by side, each of shape (rows, longest); the mask is 0 where there is padding."""

    ids: Array
    mask: Array
    types: Array


def runs(lengths: Sequence[int], budget: int, alike: float = 0.0) -> Iterator[list[int]]:
    """The rows of each run, longest first; a row that exceeds the budget has a run of its own.

    ``alike``: what a row's length is at least of the longest one's in its run, unless that is short: rows are filled
    up to it, and then take as long.
    """
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    start = 0
    while start < len(order):
        longest = max(1, lengths[order[start]])
        least = alike * longest if longest > _SHORT else 0.0
        end = start + max(1, budget // longest)
        chosen = [row for row in order[start:end] if lengths[row] >= least]
        yield chosen
        start += len(chosen)


def padded(rows: Sequence[Row], pad: int) -> Padded:
    """Padding goes to the right: no position of a token changes by it."""
    longest = max(len(row.ids) for row in rows)
    ids = np.full((len(rows), longest), pad, np.int64)
    mask = np.zeros((len(rows), longest), np.int64)
    types = np.zeros((len(rows), longest), np.int64)
    for number, row in enumerate(rows):
        length = len(row.ids)
        ids[number, :length] = row.ids
        mask[number, :length] = 1
        types[number, :length] = row.types
    return Padded(ids, mask, types)
