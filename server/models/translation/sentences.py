"""A text that is too long for a model in pieces that are not, and their translations as one text again. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

# Where a text may be parted: after sentences and at new lines; then after clauses; then between words.
_SENTENCES: Final = re.compile(r"(?<=[.!?…])\s+|(?<=[.!?…][\"'”’)\]])\s+|(?<=[。！？])|\s*\n\s*")
_CLAUSES: Final = re.compile(r"(?<=[,;:])\s+|(?<=[，；：、])")
_WORDS: Final = re.compile(r"\s+")
CODE: Final = re.compile(r">>.*?<<", re.DOTALL)  # of a language, where a text begins with one
_WIDE: Final = "\u2e80"  # from here on scripts are written without spaces, as a rule


def pieces(text: str, length: Callable[[str], int], most: int) -> list[str]:
    """The text, if its ``length`` is ``most`` at most; else its sentences; of one that is too long still, parts.

    ``length`` counts tokens; of two parts together they are no more than of each by itself. The code of a language
    with which the text begins, which is one token, is before each piece.
    """
    if length(text) <= most:
        return [text]
    code = CODE.match(text)
    if code is None or length(code.group()) - length("") != 1:
        return _cut(text, length, most)
    return [f"{code.group()} {piece}" for piece in _cut(text[code.end() :], length, most - 1)]


def _cut(text: str, length: Callable[[str], int], most: int) -> list[str]:
    return [piece for sentence in _parted(text, _SENTENCES) for piece in _shorter(sentence, length, most)]


def joined(parts: list[str]) -> str:
    """Translations one after the other: with a space, where the language has any."""
    whole = ""
    for part in filter(None, parts):
        close = not whole or whole[-1] >= _WIDE or part[0] >= _WIDE
        whole += part if close else f" {part}"
    return whole


def _shorter(sentence: str, length: Callable[[str], int], most: int) -> Iterator[str]:
    if length(sentence) <= most:
        yield sentence
        return
    for separator in (_CLAUSES, _WORDS):
        parts = _parted(sentence, separator)
        if len(parts) > 1:
            for packed in _packed(parts, length, most):
                yield from _shorter(packed, length, most)
            return
    half = len(sentence) // 2
    yield from _shorter(sentence[:half], length, most)
    yield from _shorter(sentence[half:], length, most)


def _packed(parts: list[str], length: Callable[[str], int], most: int) -> Iterator[str]:
    """Parts side by side, as many as go together."""
    held: list[str] = []
    total = 0
    for part in parts:
        size = length(part)
        if held and total + size > most:
            yield " ".join(held)
            held, total = [], 0
        held.append(part)
        total += size
    yield " ".join(held)


def _parted(text: str, separator: re.Pattern[str]) -> list[str]:
    return [part for part in (part.strip() for part in separator.split(text)) if part]
