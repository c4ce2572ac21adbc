"""Texts to tokens, by the fast tokenizers: a model's `tokenizer.json` and what lies beside it says how."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any, Final

from .files import read_json
from .packing import Row

Text = str | Sequence[str]  # a pair is two

_ENDLESS: Final = 1 << 60  # from here on a length means that there is no limit
MOST: Final = 512  # where nobody says


class Tokens:
    """One model's tokenizer. Thread-safe: texts are cut by what a tokenizer is set to, so who wants another
    length than the model's own uses a second one, one thread at a time."""

    def __init__(self, folder: str, *, max_length: int, lowercase: bool = False, typed: bool = True) -> None:
        """Raises ValueError where there is no `tokenizer.json`, or no padding token in it."""
        self._typed = typed
        self.max_length = max_length
        self._settings = read_json(folder, "tokenizer_config.json")
        self._plain = _tokenizer(folder, lowercase)
        self.pad = _pad(self._plain, self._settings, read_json(folder, "config.json"), folder)
        self._plain.no_padding()
        self._text = self._plain.to_str()
        self._cut(self._plain, max_length)
        self._lock = threading.Lock()
        self._other: Any = None

    def rows(self, texts: Sequence[Text], max_length: int | None = None, prompt: str = "", skip: int = 0) -> list[Row]:
        """Each text with the prompt before it. Raises TypeError for what is no text."""
        given = [_input(text, prompt) for text in texts]
        found = self._encoded(given, max_length)
        return [Row(one.ids, one.type_ids if self._typed else [0] * len(one.ids), skip) for one in found]

    def length(self, prompt: str, max_length: int | None = None) -> int:
        """How many tokens at the beginning of a text are its prompt's."""
        (found,) = self._encoded([prompt], max_length)
        return len(found.ids) - bool(found.special_tokens_mask and found.special_tokens_mask[-1])

    def decode(self, tokens: Sequence[int]) -> list[str]:
        """What each of some tokens stands for, by itself."""
        return [str(self._plain.decode([token], skip_special_tokens=False)) for token in tokens]

    def id_of(self, token: str) -> int | None:
        """A token's number; None: there is no such token."""
        found: int | None = self._plain.token_to_id(token)
        return found

    def _encoded(self, given: list[Any], max_length: int | None) -> list[Any]:
        if max_length is None or max_length == self.max_length:
            return list(self._plain.encode_batch(given))
        with self._lock:
            if self._other is None:
                self._other = type(self._plain).from_str(self._text)
            self._cut(self._other, max_length)
            return list(self._other.encode_batch(given))

    def _cut(self, tokenizer: Any, length: int) -> None:
        side = self._settings.get("truncation_side") or (tokenizer.truncation or {}).get("direction", "right")
        if length >= _ENDLESS:
            tokenizer.no_truncation()
        else:
            tokenizer.enable_truncation(length, direction=side)


def told_length(folder: str) -> int | None:
    """The most tokens that a tokenizer says its model takes; None where it says nothing of use."""
    settings = read_json(folder, "tokenizer_config.json")
    told = [settings.get(key) for key in ("model_max_length", "max_length")]
    lengths = [int(value) for value in told if isinstance(value, int | float) and 0 < value < _ENDLESS]
    return min(lengths, default=None)


def _input(text: Text, prompt: str) -> Any:
    if isinstance(text, str):
        return prompt + text
    first, second = text
    return prompt + first, second


def _tokenizer(folder: str, lowercase: bool) -> Any:
    from tokenizers import AddedToken, Tokenizer, normalizers

    path = os.path.join(folder, "tokenizer.json")
    if not os.path.exists(path):
        raise ValueError(f"Could not find tokenizer.json in {folder}")
    tokenizer = Tokenizer.from_file(path)
    for token in _special(read_json(folder, "special_tokens_map.json")):
        tokenizer.add_special_tokens([AddedToken(**token) if isinstance(token, dict) else token])
    if lowercase:
        before = [tokenizer.normalizer] if tokenizer.normalizer is not None else []
        tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *before])
    return tokenizer


def _special(told: dict[str, Any]) -> list[Any]:
    return [token for value in told.values() for token in (value if isinstance(value, list) else [value])]


def _pad(tokenizer: Any, settings: dict[str, Any], config: dict[str, Any], folder: str) -> int:
    padding = tokenizer.padding or {}
    name = padding.get("pad_token") or settings.get("pad_token")
    if isinstance(name, dict):
        name = name.get("content")
    found = padding.get("pad_id", config.get("pad_token_id"))
    if found is None and name is not None:
        found = tokenizer.token_to_id(name)
    if found is None:
        raise ValueError(f"Could not find a pad token for {folder}")
    return int(found)
