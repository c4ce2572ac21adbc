"""The pipeline of translation, which transformers had until its version 5 and has no more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from sharedmodel.client.backing import Backing
from sharedmodel.client.front import StandIn
from sharedmodel.client.refusing import refuse
from sharedmodel.client.texts import parts

from .data_sets import streamed
from .marian import MarianMTModel, plain
from .tokenizer import MarianTokenizer, texts_of
from .wanting import twin_of

_MOST: Final = 32  # texts in one call, which nobody else's come in between
_MOST_CHARACTERS: Final = 1 << 15
_NEUTRAL: Final[dict[str, tuple[Any, ...]]] = {
    "src_lang": (), "tgt_lang": (), "clean_up_tokenization_spaces": (False,), "return_text": (True,), "prefix": ("",),
    "stop_sequence": (), "num_workers": (0, 1),
}  # fmt: skip
_UNCUT: Final = (None, False, "do_not_truncate")


class TranslationPipeline(StandIn):
    """Texts to their translations, by a model in the host. Made by `pipeline`; light, and it pickles by reference.

    A text that is longer than the model takes is translated sentence by sentence.
    """

    framework = "pt"
    _twin = staticmethod(twin_of)

    def __init__(self, task: str, backing: Backing, options: dict[str, Any]) -> None:
        self.task = task
        self._backing = backing
        self._options = options
        self.model, self.tokenizer = MarianMTModel(backing), MarianTokenizer(backing)
        self._read(options)

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """[{"translation_text": …}] of a text; of several texts one dict each, in a list; with more than one
        `num_return_sequences` a list of dicts each. Of a generator or a data set, a generator.

        Options are those of `generate`; ``return_tensors``: {"translation_token_ids": tensor} instead;
        ``truncation``: texts are cut at the longest that the tokenizer names; ``batch_size``: texts in one call.
        """
        if (stream := streamed(inputs)) is not None:
            return self._streamed(stream, options)
        if not isinstance(inputs, str | list):
            raise ValueError(
                f" `args[0]`: {inputs} have the wrong format. The should be either of type `str` or type `list`"
            )
        if inputs == []:
            return []
        found = self._found(texts_of(inputs), {**self._options, **options})
        if isinstance(inputs, str):
            return found[0]
        return [each[0] for each in found] if all(len(each) == 1 for each in found) else found

    def _streamed(self, inputs: Iterable[str], options: dict[str, Any]) -> Iterator[Any]:
        for text in inputs:
            yield self(text, **options)

    def _found(self, texts: list[str], options: dict[str, Any]) -> list[list[dict[str, Any]]]:
        settings, cut, tensors, size = self._read(options)
        if cut or tensors:
            return [self._by_ids(text, settings, cut, tensors) for text in texts]
        found: list[Any] = []
        for part in parts(texts, size, _MOST_CHARACTERS):
            found += self._call("translate", part, settings)
        each = [[one] if isinstance(one, str) else one for one in found]
        return [[{"translation_text": text} for text in texts] for texts in each]

    def _by_ids(self, text: str, settings: dict[str, Any], cut: bool, tensors: bool) -> list[dict[str, Any]]:
        given = self.tokenizer(text, truncation=cut, return_tensors="pt" if tensors else "np")
        found = self.model.generate(**given, **settings)
        if tensors:
            return [{"translation_token_ids": ids} for ids in found]
        texts = self.tokenizer.batch_decode(found, skip_special_tokens=True)
        return [{"translation_text": text} for text in texts]

    def _read(self, options: dict[str, Any]) -> tuple[dict[str, Any], bool, bool, int]:
        """Settings of `generate`; whether to cut; whether tensors are wanted; how many texts in one call."""
        options = dict(options)
        cut = options.pop("truncation", None) not in _UNCUT
        tensors = bool(options.pop("return_tensors", False))
        size = int(options.pop("batch_size", None) or _MOST)
        for name, allowed in _NEUTRAL.items():
            value = options.pop(name, None)
            if value is not None and value not in allowed:
                refuse(f"TranslationPipeline()(..., {name}=...)", "Marian's models know nothing of it")
        return plain({**self.model.generation_config.settings, **options}), cut, tensors, min(size, _MOST)
