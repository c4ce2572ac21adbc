"""Answers to questions about a text: transformers had a pipeline for it until its version 5, and has the models still.

    question, context ─► windows of tokens, overlapping ─► model ─► start and end scores ─► spans ─► characters

A span's score is the product of the probabilities of its start and its end, among the tokens of its window that
are of the context. Spans are widened to whole words.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np

from sharedmodel.tensor import Array

from .torch_device import TorchDevice

_LOW: Final = np.float32(-10_000.0)


class Options(NamedTuple):
    """As the pipeline of version 4 has them."""

    top_k: int = 1
    doc_stride: int | None = None
    max_answer_len: int = 15
    max_seq_len: int | None = None
    max_question_len: int = 64
    handle_impossible_answer: bool = False
    align_to_words: bool = True


class Answering:
    """A model and its tokenizer, called like a pipeline."""

    def __init__(self, folder: str, device: TorchDevice) -> None:
        """Raises ValueError for a model without a fast tokenizer."""
        import torch
        from transformers import AutoModelForQuestionAnswering, AutoTokenizer

        self._torch = torch
        self._device = device
        model = AutoModelForQuestionAnswering.from_pretrained(folder, dtype=torch.float32).eval()
        self.model = device.put(model)
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        if not self._tokenizer.is_fast:
            raise ValueError(f"the tokenizer in {folder} can't tell where its tokens are in a text")

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """{"score", "start", "end", "answer"} of {"question", "context"}: characters of the context. A list of
        them for several; with ``top_k`` above 1 a list for each, the best first.

        Raises TypeError for an option that there is not, ValueError for what is no question.
        """
        chosen = Options(**options)
        if chosen.top_k < 1:
            raise ValueError(f"top_k parameter should be >= 1 (got {chosen.top_k})")
        if chosen.max_answer_len < 1:
            raise ValueError(f"max_answer_len parameter should be >= 1 (got {chosen.max_answer_len})")
        many = isinstance(inputs, list)
        found = [self._answered(*_pair(each), chosen) for each in (inputs if many else [inputs])]
        return found if many else found[0]

    def _answered(self, question: str, context: str, options: Options) -> Any:
        answers: list[dict[str, Any]] = []
        nothing = 1_000_000.0
        for start, end, offsets, words, mask in self._windows(question, context, options):
            starts, ends = _probable(start, mask), _probable(end, mask)
            if options.handle_impossible_answer:
                nothing = min(nothing, float(starts[0] * ends[0]))
            starts[0] = ends[0] = 0.0
            answers += [
                _answer(score, context, *_characters(first, last, offsets, words if options.align_to_words else None))
                for first, last, score in _spans(starts, ends, mask, options)
            ]
        if options.handle_impossible_answer:
            answers.append({"score": nothing, "start": 0, "end": 0, "answer": ""})
        answers = sorted(answers, key=lambda one: -one["score"])[: options.top_k]
        return answers[0] if len(answers) == 1 else answers

    def _windows(self, question: str, context: str, options: Options) -> Iterator[tuple[Any, ...]]:
        """Of each window: start and end scores, offsets of its tokens, their words, which are not to be answered."""
        most = options.max_seq_len or min(self._tokenizer.model_max_length, 384)
        stride = min(most // 2, 128) if options.doc_stride is None else options.doc_stride
        asked = self._tokenizer(
            question, add_special_tokens=False, truncation=True, max_length=options.max_question_len
        )
        kept = (
            self._tokenizer.decode(asked["input_ids"])
            if len(asked["input_ids"]) == options.max_question_len
            else question
        )
        found = self._tokenizer(
            kept, context, truncation="only_second", max_length=most, stride=stride, return_tensors="pt", padding=True,
            return_overflowing_tokens=True, return_offsets_mapping=True,
        )  # fmt: skip
        names = [name for name in self._tokenizer.model_input_names if name in found]
        taken = {name: self._device.put(found[name]) for name in names}
        with self._torch.inference_mode():
            output = self.model(**taken)
        starts, ends = output.start_logits.cpu().numpy(), output.end_logits.cpu().numpy()
        for row, encoding in enumerate(found.encodings):
            mask = np.array([kind != 1 for kind in encoding.sequence_ids])
            mask[0] = False  # its place says that there is no answer
            yield starts[row], ends[row], encoding.offsets, encoding.word_ids, mask


def _pair(given: Any) -> tuple[str, str]:
    if not isinstance(given, dict):
        raise ValueError(f"{given} argument needs to be of type (SquadExample, dict)")
    for key in ("question", "context"):
        if key not in given:
            raise KeyError("You need to provide a dictionary with keys {question:..., context:...}")
        if not isinstance(given[key], str) or not given[key]:
            raise ValueError(f"`{key}` cannot be empty, and is a text")
    return given["question"], given["context"]


def _probable(scores: Array, mask: Array) -> Array:
    low = np.where(mask, _LOW, scores)
    raised = np.exp(low - low.max())
    return np.asarray(raised / raised.sum())


def _spans(starts: Array, ends: Array, mask: Array, options: Options) -> Iterator[tuple[int, int, float]]:
    """The best spans of a window that begin before they end, and are not too long."""
    together = np.tril(np.triu(np.outer(starts, ends)), options.max_answer_len - 1)
    for place in np.argsort(-together, axis=None, kind="stable")[: options.top_k].tolist():
        first, last = divmod(place, len(ends))
        if first and not mask[first] and not mask[last]:
            yield first, last, float(together[first, last])


def _characters(first: int, last: int, offsets: Any, words: Any) -> tuple[int, int]:
    if words is not None and words[first] is not None and words[last] is not None:
        return _edges(first, offsets, words)[0], _edges(last, offsets, words)[1]
    return offsets[first][0], offsets[last][1]


def _edges(token: int, offsets: Any, words: Any) -> tuple[int, int]:
    """Where the word of a token begins and ends, among the tokens of the same text."""
    first = last = token
    while first > 0 and words[first - 1] == words[token]:
        first -= 1
    while last + 1 < len(words) and words[last + 1] == words[token]:
        last += 1
    return offsets[first][0], offsets[last][1]


def _answer(score: float, context: str, start: int, end: int) -> dict[str, Any]:
    return {"score": score, "start": start, "end": end, "answer": context[start:end]}
