"""What may be encoded: texts and pairs of texts, in the forms and with the mistakes of FlagEmbedding's tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sharedmodel.client.refusing import refuse
from sharedmodel.client.texts import NEITHER, Text, crossing

_INVALID: Final = (
    "text input must be of type `str` (single example), `list[str]` (batch or single pretokenized example) or "
    "`list[list[str]]` (batch of pretokenized examples) or `list[tuple[list[str], list[str]]]` (batch of pretokenized "
    "sequence pairs)."
)
_OF_TOKENIZER: Final = (
    "add_special_tokens", "padding", "truncation", "stride", "is_split_into_words", "pad_to_multiple_of",
    "padding_side", "return_tensors", "return_token_type_ids", "return_attention_mask", "return_overflowing_tokens",
    "return_special_tokens_mask", "return_offsets_mapping", "return_length", "verbose",
)  # fmt: skip


def texts_of(sentences: Any, batch_size: Any) -> list[Text]:
    """Several texts, taken a batch at a time. Raises what the library raises, for none as well."""
    chosen = batches(sentences, batch_size)
    texts = [text for batch in chosen for text in checked(batch)]
    if not texts:
        raise AttributeError("'list' object has no attribute 'keys'")  # the library pads an empty list
    return texts


def batches(items: Any, size: Any) -> list[Any]:
    """Slices of so many."""
    _ = len(items) < size
    return [items[start : start + size] for start in range(0, len(items), size)]


def checked(batch: Any) -> list[Text]:
    """The texts of one batch. Raises ValueError or TypeError, in the tokenizer's words."""
    if not isinstance(batch, list | tuple) or not (not batch or _begins_well(batch[0])):
        raise ValueError(_INVALID)
    return [_text(item) for item in batch]


def check_rest(what: str, rest: dict[str, Any]) -> None:
    """Raises for further arguments, which the library hands to its tokenizer."""
    for name in rest:
        if name in _OF_TOKENIZER:
            refuse(f"{what}({name}=...)", "texts are tokenised in the host")
        raise TypeError(f"PreTrainedTokenizerBase.pad() got an unexpected keyword argument {name!r}")


def instructed(sentences: Any, instruction: str | None, form: Any) -> Any:
    """Each text with an instruction before it, in a form such as "{}{}"."""
    if instruction is None:
        return sentences
    if isinstance(sentences, str):
        return detailed(form, instruction, sentences)
    return [detailed(form, instruction, sentence) for sentence in sentences]


def detailed(form: Any, instruction: str, sentence: Any) -> str:
    """One text with an instruction before it; a backslash and an n in the form are a new line."""
    whole = form.replace("\\n", "\n") if "\\n" in form else form
    return str(whole.format(instruction, sentence))


def _begins_well(first: Any) -> bool:
    return isinstance(first, str) or (isinstance(first, list | tuple) and (not first or isinstance(first[0], str)))


def _text(item: Any) -> Text:
    if isinstance(item, str):
        return crossing(item)
    if isinstance(item, Sequence) and len(item) == 2 and all(isinstance(part, str) for part in item):
        return [crossing(part) for part in item]
    raise TypeError(NEITHER)
