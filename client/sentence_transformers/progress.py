"""The bar that shows how many batches are done, where tqdm is installed."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

Item = TypeVar("Item")

_LOGGER = "sentence_transformers.sentence_transformer.model"


def wanted(shown: bool | None) -> bool:
    """Whether to show it: if nobody says, where the library's log is at that level."""
    return logging.getLogger(_LOGGER).getEffectiveLevel() in (logging.INFO, logging.DEBUG) if shown is None else shown


@contextmanager
def watched(items: Sequence[Item], shown: bool, text: str = "Batches") -> Iterator[Sequence[Item]]:
    """The items, with a bar that moves as they are taken."""
    bar: Any = None
    if shown:
        try:
            from tqdm.autonotebook import tqdm

            bar = tqdm(items, desc=text)
        except ImportError:
            warnings.warn("no progress bar: tqdm is not installed here", RuntimeWarning, stacklevel=4)
    try:
        yield items if bar is None else bar
    finally:
        if bar is not None:
            bar.close()
