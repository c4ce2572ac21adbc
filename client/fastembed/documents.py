"""Documents, taken a batch at a time, as fastembed takes them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

from sharedmodel.client.texts import NEITHER, Text, crossing, parts

Made = TypeVar("Made")


def batches(documents: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """So many at a time. Raises ValueError for a size below 1."""
    if size < 1:
        raise ValueError(f"batch_size must be >= 1, got {size}")
    source = iter(documents)
    while batch := list(islice(source, size)):
        yield batch


def texts_of(batch: list[Any]) -> list[list[Any]]:
    """What goes in one call each. Raises TypeError for what is no text, in the tokenizers' words."""
    return [list(part) for part in parts([_text(document) for document in batch])]


def side_by_side(items: Iterable[Any], make: Callable[[Any], Made], width: int) -> Iterator[Made]:
    """What is made of each item, in order, with so many on their way. Items are taken as room comes free."""
    waiting: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(width, "fastembed") as threads:
        try:
            for item in items:
                waiting.append(threads.submit(make, item))
                if len(waiting) > width:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # whoever stops reading waits for what has begun only
            for future in waiting:
                future.cancel()


def _text(document: Any) -> Text:
    if isinstance(document, str):
        return crossing(document)
    if isinstance(document, bytes):
        raise TypeError("TextInputSequence must be str")
    if isinstance(document, list | tuple) and len(document) == 2 and all(isinstance(part, str) for part in document):
        return [crossing(part) for part in document]
    raise TypeError(NEITHER)
