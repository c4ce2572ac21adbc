"""MarianTokenizer: texts to token ids and back, by the host's copy of it."""

from __future__ import annotations

from typing import Any, Final

from sharedmodel.client.backing import Backing
from sharedmodel.client.refusing import refuse

from .encoding import BatchEncoding, formed, listed
from .pretrained import Pretrained

_PADDING: Final = {False: None, None: None, "do_not_pad": None, True: "longest", "longest": "longest"}
_CUT: Final = (True, "longest_first", "only_first")
_UNCUT: Final = (None, False, "do_not_truncate")
_OTHERS: Final[dict[str, tuple[Any, ...]]] = {
    "text_pair": (), "text_pair_target": (), "stride": (0,), "is_split_into_words": (False,),
    "padding_side": ("right",), "pad_to_multiple_of": (), "return_token_type_ids": (False,),
    "return_overflowing_tokens": (False,), "return_special_tokens_mask": (False,), "return_offsets_mapping": (False,),
    "return_length": (False,), "verbose": (True, False),
}  # fmt: skip


class MarianTokenizer(Pretrained):
    """The tokenizer of a model in the host. Made by `from_pretrained`; light, and it pickles by reference."""

    unk_token, eos_token, pad_token = "<unk>", "</s>", "<pad>"
    model_input_names: Final = ["input_ids", "attention_mask"]
    padding_side = "right"
    _inside = "the tokenizer is in the host"

    def __init__(self, backing: Backing) -> None:
        super().__init__(backing)
        card: dict[str, Any] = self._call("card")
        self.model_max_length: int = card["max_length"]
        self.eos_token_id, self.pad_token_id, self.unk_token_id = card["eos"], card["pad"], card["unknown"]
        self.all_special_ids: list[int] = card["special"]
        self.supported_language_codes: list[str] = card["codes"]
        self.vocab_size: int = card["vocabulary"]
        self.name_or_path = str(backing.wanted.options.get("path") or backing.wanted.options.get("name"))

    def __call__(
        self,
        text: Any = None,
        *,
        text_target: Any = None,
        add_special_tokens: bool = True,
        padding: Any = False,
        truncation: Any = None,
        max_length: int | None = None,
        return_tensors: str | None = None,
        return_attention_mask: bool | None = None,
        **rest: Any,
    ) -> BatchEncoding:
        """`input_ids` and `attention_mask` of one text or several; of ``text_target`` too, `labels`."""
        for name, value in rest.items():
            if value is not None and value not in _OTHERS.get(name, ()):
                refuse(f"MarianTokenizer()(..., {name}=...)", "texts are tokenised in the host")
        if text is None and text_target is None:
            raise ValueError("You need to specify either `text` or `text_target`.")
        shape = {"ends": add_special_tokens, "padding": padding, "truncation": truncation, "max_length": max_length}
        first = text_target if text is None else text
        found = self._encoded(first, target=text is None, tensors=return_tensors, **shape)
        if return_attention_mask is False:
            del found["attention_mask"]
        if text is not None and text_target is not None:
            labels = self._encoded(text_target, target=True, tensors=return_tensors, **shape)
            found["labels"] = labels["input_ids"]
        return found

    def encode(self, text: str, **options: Any) -> Any:
        """The token ids of a text."""
        return self(text, **options)["input_ids"]

    def decode(self, token_ids: Any, skip_special_tokens: bool = False, **rest: Any) -> Any:
        """The text of token ids; of several rows of them, a list of texts."""
        ids = listed(token_ids)
        ids = [ids] if isinstance(ids, int) else ids
        if ids and isinstance(ids[0], list):
            return self.batch_decode(ids, skip_special_tokens, **rest)
        return self.batch_decode([ids], skip_special_tokens, **rest)[0]

    def batch_decode(self, sequences: Any, skip_special_tokens: bool = False, **rest: Any) -> list[str]:
        """The texts of rows of token ids; of none of them one that is empty, as the library has it."""
        for name, value in rest.items():
            if value not in (None, False):
                refuse(f"MarianTokenizer.batch_decode({name}=...)", "texts are made in the host")
        texts: list[str] = self._call("detokenize", listed(sequences), bool(skip_special_tokens))
        return texts or [""]

    def __len__(self) -> int:
        return self.vocab_size

    def _encoded(
        self,
        given: Any,
        *,
        target: bool,
        ends: bool,
        padding: Any,
        truncation: Any,
        max_length: int | None,
        tensors: Any,
    ) -> BatchEncoding:
        rows: list[list[int]] = self._call("tokenize", texts_of(given), target)
        rows = [self._cut(row, ends, truncation, max_length, bool(padding)) for row in rows]
        ids, masks = self._padded(rows, padding, max_length)
        if tensors not in (None, "pt", "np"):
            refuse(f"MarianTokenizer()(..., return_tensors={tensors!r})", "there are 'pt' and 'np'")
        if isinstance(given, str) and tensors is None:
            return BatchEncoding({"input_ids": ids[0], "attention_mask": masks[0]})
        return BatchEncoding({"input_ids": formed(ids, tensors), "attention_mask": formed(masks, tensors)})

    def _cut(self, row: list[int], ends: bool, truncation: Any, max_length: int | None, padded: bool) -> list[int]:
        if truncation not in (*_CUT, *_UNCUT):
            raise ValueError(
                f"{truncation} is not a valid TruncationStrategy, please select one of ['only_first', 'only_second', "
                "'longest_first', 'do_not_truncate']"
            )
        cut = truncation in _CUT or (truncation is None and max_length is not None and not padded)
        most = (max_length or self.model_max_length) if cut else len(row) + 1
        text, end = row[:-1], row[-1:] if ends else []
        return text[: max(0, most - len(end))] + end

    def _padded(self, rows: list[list[int]], padding: Any, max_length: int | None) -> tuple[list[Any], list[Any]]:
        if padding == "max_length":
            width = max_length or self.model_max_length
        elif padding in _PADDING:
            width = max(map(len, rows), default=0) if _PADDING[padding] else 0
        else:
            raise ValueError(
                f"{padding} is not a valid PaddingStrategy, please select one of ['longest', 'max_length', "
                "'do_not_pad']"
            )
        ids = [row + [self.pad_token_id] * (width - len(row)) for row in rows]
        return ids, [[1] * len(row) + [0] * (width - len(row)) for row in rows]


def texts_of(given: Any) -> list[str]:
    """One text or several, as they cross. Raises ValueError for what is none, in transformers' words."""
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list | tuple):
        raise ValueError(f"Input must be a string, list of strings, or list of ints, got: {type(given)}")
    if not texts:
        raise ValueError(
            "You should supply an encoding or a list of encodings to this method that includes input_ids, but you "
            f"provided {given}"
        )
    if isinstance(texts[0], list | tuple):
        refuse("a pair of texts", "Marian's models take one text at a time")
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            wrong = type(text) if number else type(given)
            raise ValueError(f"Input must be a string, list of strings, or list of ints, got: {wrong}")
    return [_crossing(text) for text in texts]


def _crossing(text: str) -> str:
    """The same as a plain str. Raises RuntimeError for halves of characters, which sentencepiece can't take either."""
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise RuntimeError(f"a text with half a character in it is none: {exc}") from None
    return str(text)
