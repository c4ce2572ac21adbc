"""Documents, taken a batch at a time, as fastembed takes them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, Final, TypeVar

Made = TypeVar("Made")

_NEITHER: Final = "TextEncodeInput must be Union[TextInputSequence, Tuple[InputSequence, InputSequence]]"
# In one call, which nobody else's come in between; one document may be longer.
_MOST: Final = 64
_MOST_CHARACTERS: Final = 1 << 16


def batches(documents: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """So many at a time. Raises ValueError for a size below 1."""
    if size < 1:
        raise ValueError(f"batch_size must be >= 1, got {size}")
    source = iter(documents)
    while batch := list(islice(source, size)):
        yield batch


def texts_of(batch: list[Any]) -> list[list[Any]]:
    """What goes in one call each. Raises TypeError for what is no text, in the tokenizers' words."""
    calls: list[list[Any]] = [[]]
    characters = 0
    for document in batch:
        text = _text(document)
        length = sum(map(len, text)) if isinstance(text, list) else len(text)
        characters += length
        if calls[-1] and (characters > _MOST_CHARACTERS or len(calls[-1]) == _MOST):
            calls.append([])
            characters = length
        calls[-1].append(text)
    return calls


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


def _text(document: Any) -> str | list[str]:
    if isinstance(document, str):
        return _crossing(document)
    if isinstance(document, bytes):
        raise TypeError("TextInputSequence must be str")
    if isinstance(document, list | tuple) and len(document) == 2 and all(isinstance(part, str) for part in document):
        return [_crossing(part) for part in document]
    raise TypeError(_NEITHER)


def _crossing(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise TypeError(_NEITHER) from None
    return str(text)
