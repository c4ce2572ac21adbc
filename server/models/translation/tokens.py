"""Texts to Marian's tokens and back, by sentencepiece and `vocab.json`: what MarianTokenizer does, without it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Sequence
from typing import Any, Final

from ..embedding.files import read_json
from .sentences import CODE

_SPACE: Final = "▁"
_FILES: Final = ("source.spm", "target.spm", "vocab.json")
_USUAL: Final = {"eos": "</s>", "unk": "<unk>", "pad": "<pad>"}


class Tokens:
    """One model's tokenizer. Thread-safe."""

    def __init__(self, folder: str) -> None:
        """Raises ValueError for a folder without Marian's files, NotImplementedError for two vocabularies."""
        import sentencepiece

        missing = [name for name in _FILES if not os.path.isfile(os.path.join(folder, name))]
        if missing:
            raise ValueError(f"no tokenizer of Marian in {folder}: there is no {missing[0]}")
        settings = read_json(folder, "tokenizer_config.json")
        if settings.get("separate_vocabs"):
            raise NotImplementedError(f"the tokenizer in {folder} has separate vocabularies, which are not carried")
        with open(os.path.join(folder, "vocab.json"), encoding="utf-8") as file:
            self._numbers: dict[str, int] = json.load(file)
        options = settings.get("sp_model_kwargs") or {}
        self._source, self._target = (
            sentencepiece.SentencePieceProcessor(model_file=os.path.join(folder, name), **options)
            for name in _FILES[:2]
        )
        self._tokens = {number: token for token, number in self._numbers.items()}
        names = {role: _content(settings.get(f"{role}_token"), usual) for role, usual in _USUAL.items()}
        self._add(settings, names.values())
        self.eos = self._numbers[names["eos"]]
        self.unknown = self._numbers[names["unk"]]
        self.pad = self._numbers[names["pad"]]
        self.codes = sorted(token for token in self._numbers if token.startswith(">>") and token.endswith("<<"))
        self.max_length = int(min(settings.get("model_max_length") or 512, 1 << 60))

    @property
    def special(self) -> list[int]:
        """Which tokens are no text: the end, padding and their like."""
        return sorted(self._special)

    def row(self, text: str, *, target: bool = False) -> list[int]:
        """A text's tokens, with the end. ``target``: of the other language."""
        spm = self._target if target else self._source
        found: list[int] = []
        for part in self._split.split(text):
            if part in self._added:
                found.append(self._added[part])
            elif part:
                found += [self._numbers.get(piece, self.unknown) for piece in _pieces(part, spm)]
        return [*found, self.eos]

    def text(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        """The text of tokens; the end and padding are left out, or shown."""
        special = self._special
        out = ""
        plain: list[str] = []
        for number in ids:
            token = self.token(number)
            if number not in special:
                plain.append(token)
            elif not skip_special:
                out += self._source.decode_pieces(plain) + token + " "
                plain = []
        out += self._source.decode_pieces(plain)
        return str(out.replace(_SPACE, " ").strip())

    def token(self, number: int) -> str:
        """The token with a number."""
        found = self._tokens.get(number)
        return str(self._source.id_to_piece(number)) if found is None else found

    def number(self, token: str) -> int:
        """The number of a token."""
        found = self._added.get(token)
        return self._numbers.get(token, self.unknown) if found is None else found

    def _add(self, settings: dict[str, Any], names: Collection[str]) -> None:
        """Tokens that are found in a text as they stand."""
        told = settings.get("added_tokens_decoder") or {}
        entries = [(int(number), entry) for number, entry in told.items()]
        if odd := [
            entry["content"] for _, entry in entries if any(map(entry.get, ("lstrip", "rstrip", "single_word")))
        ]:
            raise NotImplementedError(f"the added token {odd[0]!r} takes its surroundings along, which is not carried")
        self._added: dict[str, int] = {entry["content"]: number for number, entry in entries}
        self._added |= {name: self._numbers[name] for name in names}
        self._tokens |= {number: token for token, number in self._added.items()}
        self._special = {number for number, entry in entries if entry.get("special")}
        self._special |= {self._numbers[name] for name in names}
        longest_first = sorted(self._added, key=len, reverse=True)
        self._split = re.compile(f"({'|'.join(map(re.escape, longest_first))})")


def _content(told: Any, usual: str) -> str:
    return str(told.get("content") if isinstance(told, dict) else told or usual)


def _pieces(text: str, spm: Any) -> list[str]:
    """A text's pieces; the code of a language at its beginning is one."""
    code = CODE.match(text)
    if code is None:
        return list(spm.encode(text, out_type=str))
    return [code.group(), *spm.encode(text[code.end() :], out_type=str)]
