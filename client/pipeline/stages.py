"""The stages that are there: OCR, translation and embedding, each a model of the server.

A stage is a function that gets a `Page` and adds fields to it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from sharedmodel.client.host import Host
from sharedmodel.client.kinds import of_kind
from sharedmodel.client.model import Model
from sharedmodel.errors import BadArgument

from .page import Page

Stage = Callable[[Page], object]


class Known(NamedTuple):
    """A stage by name: the kinds of model that do it, the method that is called, and what makes it of a model."""

    kinds: tuple[str, ...]
    method: str
    make: Callable[[Model], Stage]


def reading(model: Model) -> Stage:
    """``lines`` from top to bottom: "text", "score" and "box", four corners [x, y], where the model tells it."""

    def ocr(page: Page) -> None:
        page["lines"] = [_line(line) for line in sorted(model.ocr(page.image), key=_top)]

    return ocr


def _top(line: Mapping[str, Any]) -> float:
    """Where a line begins; of a model that does not tell they are in order."""
    return float(line["position"][0][1]) if "position" in line else 0.0


def _line(line: Mapping[str, Any]) -> dict[str, Any]:
    box = {"box": np.asarray(line["position"]).tolist()} if "position" in line else {}
    return {"text": line["text"], "score": float(line["score"]), **box}


def translating(model: Model) -> Stage:
    """To each line its "translation"."""

    def translate(page: Page) -> None:
        texts = [line["text"] for line in page.lines]
        for line, found in zip(page.lines, model.translate(texts) if texts else (), strict=True):
            # Some models give several, the best first.
            line["translation"] = found if isinstance(found, str) else found[0]

    return translate


def embedding(model: Model) -> Stage:
    """``vector`` of the page's text: of its translation, where it has one."""

    def embed(page: Page) -> None:
        page["vector"] = np.asarray(model.embed([page.text]))[0]

    return embed


_LANGUAGE: Final = re.compile(r"-([A-Za-z]{2,3}(?:_[A-Za-z]+)?)$")
KNOWN: Final[Mapping[str, Known]] = {
    "ocr": Known(("cnocr", "rapidocr"), "ocr", reading),
    "translate": Known(("translator",), "translate", translating),
    "embed": Known(("embedder",), "embed", embedding),
}


def parts(name: str) -> list[str]:
    """The stages of a pipeline's name, "ocr-translate". Raises BadArgument for what can't be one after the other."""
    named = name.split("-")
    if unknown := [part for part in named if part not in KNOWN]:
        raise BadArgument(f"no stage {unknown[0]!r} in {name!r}; stages are: {', '.join(KNOWN)}, joined by '-'")
    if named[0] != "ocr" or len(set(named)) < len(named):
        raise BadArgument(f"{name!r}: a pipeline begins with ocr, and has each stage once")
    return named


def made(part: str, host: Host, model: str | None, to: str | None, timeout: float | None) -> Stage:
    """A stage with its model: the one named, else the one of its kind; a translator ``to`` a language.

    Raises BadArgument where the server has none, or several, or the one named can't do it.
    """
    kinds, method, make = KNOWN[part]
    if model is None:
        model = chosen(host.models(), part, kinds, to)
    proxy = host.model(model, timeout=timeout)
    if not hasattr(proxy, method):
        raise BadArgument(f"model {model!r} has no method {method!r}, which the stage {part!r} calls")
    return make(proxy)


def chosen(states: Mapping[str, Any], part: str, kinds: Sequence[str], to: str | None) -> str:
    """The model for a stage, among what `Host.models()` told. Raises BadArgument that says what there is."""
    if part == "translate" and to is not None:
        states = _translating_to(to, states, kinds)
    try:
        return of_kind(states, kinds, f"say which by --{part} NAME")
    except BadArgument as exc:
        raise BadArgument(f"stage {part!r}: {exc}; a factory's model is named by --{part} NAME") from None


def _translating_to(to: str, states: Mapping[str, Any], kinds: Sequence[str]) -> Mapping[str, Any]:
    """Those that remain when names tell the language: "opus-mt-en-zh" is to "zh", and a name without one to any."""
    told = {name: _LANGUAGE.search(name) for name, state in states.items() if state.get("kind") in kinds}
    fitting = {name: states[name] for name, language in told.items() if language and language[1] == to}
    if fitting:
        return fitting
    if told and all(told.values()):
        raise BadArgument(f"no translator to {to!r} is served, by its name; there are: {', '.join(sorted(told))}")
    return {name: state for name, state in states.items() if name not in told or told[name] is None}
