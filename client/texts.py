"""Texts on their way to a host: as plain strings, and not too many in one call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

Text = str | list[str]  # a pair is two
Some = TypeVar("Some", str, list[str], str | list[str])

NEITHER: Final = "TextEncodeInput must be Union[TextInputSequence, Tuple[InputSequence, InputSequence]]"
# In one call, which nobody else's come in between; one text may be longer.
_MOST: Final = 64
_MOST_CHARACTERS: Final = 1 << 16


def length(text: Text) -> int:
    """By which texts are sorted."""
    return len(text) if isinstance(text, str) else sum(map(len, text))


def parts(
    texts: Sequence[Some], most: int = _MOST, most_characters: int = _MOST_CHARACTERS
) -> Iterator[Sequence[Some]]:
    """What goes in one call each: not too many texts, of not too many characters together."""
    start = characters = 0
    for number, text in enumerate(texts):
        characters += length(text)
        if number > start and (characters > most_characters or number - start == most):
            yield texts[start:number]
            start, characters = number, length(text)
    if start < len(texts):
        yield texts[start:]


def crossing(text: str) -> str:
    """The same as a plain str. Raises TypeError for halves of characters, which tokenizers can't take either."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise TypeError(NEITHER) from None
    return str(text)
