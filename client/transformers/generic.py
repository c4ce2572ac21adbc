"""Pipelines of all tasks but translation: what is called here runs in the host, by the library itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Final

import numpy as np

from sharedmodel.client.backing import Backing
from sharedmodel.client.front import StandIn
from sharedmodel.client.refusing import refuse

from . import pictures
from .data_sets import streamed
from .encoding import listed

_MOST: Final = 16  # inputs in one call, which nobody else's come in between
# With these, a list is one input.
_WHOLE: Final = ("is_split_into_words", "offset_mapping")
_IGNORED: Final = ("num_workers", "timeout")
_PLAIN: Final = (str, int, float, bool, type(None))


class Pipeline(StandIn):
    """A task, and the model in the host that does it. Made by `pipeline`; light, and it pickles by reference."""

    framework = "pt"
    _twin = staticmethod(pictures.twin_of)

    def __init__(self, task: str, backing: Backing, options: dict[str, Any]) -> None:
        self.task = task
        self._backing = backing
        self._options = _read(task, options)
        self.labels: dict[int, str] = self._call("card")["labels"]

    def __call__(self, inputs: Any = None, **options: Any) -> Any:
        """What the library's pipeline gives: for one input, for a list of them, or of a generator another one.

        Options are those of the library's pipeline; others raise TypeError there, and so here.
        """
        inputs, options = self._renamed(inputs, options)
        settings = {**self._options, **_read(self.task, options)}
        if (stream := streamed(inputs)) is not None:
            return self._streamed(stream, settings)
        found = self._found(inputs, settings)
        # For one text it gives a list, unless the call says how many labels; that the object does, it overlooks.
        overlooked = "top_k" in self._options and "top_k" not in options and isinstance(inputs, str)
        return [found] if self.task == "text-classification" and overlooked else found

    def _found(self, inputs: Any, settings: dict[str, Any]) -> Any:
        if not isinstance(inputs, list) or not inputs or any(map(settings.get, _WHOLE)):
            return self._formed(self._sent(inputs, settings), settings)
        found: list[Any] = []
        size = int(settings.get("batch_size") or 1)
        for part in _parts(inputs, size * max(1, _MOST // size)):
            found += self._formed(self._sent(part, settings), settings)
        return found

    def _streamed(self, inputs: Iterable[Any], settings: dict[str, Any]) -> Iterator[Any]:
        for part in _parts(inputs, int(settings.get("batch_size") or 1)):
            yield from self._found(part, settings)

    def _sent(self, inputs: Any, settings: dict[str, Any]) -> Any:
        settings = {name: value for name, value in settings.items() if name != "return_tensors"}
        if self.task != "image-classification":
            return self._call("call", inputs, settings)
        if inputs is None:
            raise ValueError("Cannot call the image-classification pipeline without an inputs argument!")
        images = [pictures.crossing(one) for one in inputs] if isinstance(inputs, list) else pictures.crossing(inputs)
        with pictures.told_of(inputs[0] if isinstance(inputs, list) and len(inputs) == 1 else inputs):
            return self._call("call", images, settings)

    def _formed(self, found: Any, settings: dict[str, Any]) -> Any:
        if self.task != "feature-extraction":
            return found
        return _each(found, _tensor if settings.get("return_tensors") else _listed)

    def _renamed(self, inputs: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Names that the first argument had once; a question and its context by their names."""
        options = dict(options)
        if self.task == "image-classification":
            return options.pop("images", inputs), options
        if self.task == "question-answering" and inputs is None and "question" in options:
            question, context = options.pop("question"), options.pop("context", None)
            if isinstance(question, list):
                contexts = context if isinstance(context, list) else [context] * len(question)
                pairs = zip(question, contexts, strict=True)
                return [{"question": one, "context": other} for one, other in pairs], options
            return {"question": question, "context": context}, options
        return inputs, options

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(f"Pipeline.{name} is not part of this stand-in: the model is in the host")


def _read(task: str, options: dict[str, Any]) -> dict[str, Any]:
    """Options as they cross. Raises NotImplementedError for functions and objects."""
    found: dict[str, Any] = {}
    for name, value in options.items():
        value = listed(getattr(value, "value", value))
        if not isinstance(value, (*_PLAIN, list, tuple, dict)):
            refuse(f"pipeline({task!r})(..., {name}=...)", "only plain values go to the host")
        if name not in _IGNORED:
            found[name] = value
    return found


def _parts(inputs: Iterable[Any], size: int) -> Iterator[list[Any]]:
    source = iter(inputs)
    while part := list(islice(source, size)):
        yield part


def _each(found: Any, form: Callable[[Any], Any]) -> Any:
    return [_each(one, form) for one in found] if isinstance(found, list) else form(found)


def _listed(array: Any) -> Any:
    return array.tolist()


def _tensor(array: Any) -> Any:
    import torch

    return torch.from_numpy(np.array(array))
