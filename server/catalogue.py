"""The kinds of model that there are, as their adapters tell them: methods, options, and what each is for.

Options are those of the constructor's signature, with the words that the class's docstring has for each:

    name[, name]   what it is
                   (further lines are indented deeper)

An adapter's module is imported for that, its libraries are not.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
import types
import typing
from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple

from sharedmodel.errors import BadArgument

from .kinds import DETAILS, adapter
from .mistakes import Mistake
from .models import KINDS

_OPTION: Final = re.compile(r"(\w+(?:, \w+)*) {2,}(\S.*)")


class Option(NamedTuple):
    """One key of a model's table. ``needed``: it has to be given; ``default`` None: without it, nothing is said."""

    name: str
    type: str
    needed: bool
    default: Any
    about: str


class Method(NamedTuple):
    """``arguments`` as they are written in a call, in parentheses."""

    name: str
    arguments: str
    about: str


class Entry(NamedTuple):
    """``others``: what is said of options that are not listed here, but are the library's; None: there are none."""

    kind: str
    about: str
    methods: tuple[Method, ...]
    default: str
    isolate: bool
    options: tuple[Option, ...]
    others: str | None

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        told = self._asdict()
        return told | {
            "methods": [method._asdict() for method in self.methods],
            "options": [option._asdict() for option in self.options],
        }


def entries(kind: str | None = None) -> list[Entry]:
    """All of them, or the one of a kind. Raises BadArgument for a kind that there is not."""
    if kind is not None and kind not in KINDS:
        raise BadArgument(str(Mistake.unknown("KIND", "kind", tuple(KINDS), kind)))
    return [entry(each) for each in ([kind] if kind is not None else KINDS)]


def entry(kind: str) -> Entry:
    """What there is to tell of a kind."""
    cls, details = adapter(kind), DETAILS[kind]
    words = dict(_options_told(inspect.getdoc(cls) or ""))
    hints = typing.get_type_hints(cls.__init__)
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    open_ended = [each for each in parameters if each.kind is inspect.Parameter.VAR_KEYWORD]
    return Entry(
        kind=kind,
        about=_first_paragraph(inspect.getdoc(sys.modules[cls.__module__]) or ""),
        methods=tuple(_method(cls, name) for name in details.exposed),
        default=details.default,
        isolate=details.isolate,
        options=tuple(
            _option(each, hints.get(each.name, Any), words.get(each.name, ""))
            for each in parameters
            if each not in open_ended
        ),
        others=words.get(open_ended[0].name, "") if open_ended else None,
    )


def first_words(text: str, most: int = 80) -> str:
    """The beginning of a text, up to where its first thought ends."""
    beginning = re.split(r"[.;](?:\s|$)", text, maxsplit=1)[0]
    if len(beginning) > most:
        beginning = beginning[:most].rpartition(" ")[0].rstrip(",:") + " …"
    return beginning


def type_told(hint: Any) -> str:
    """A type for people: `"onnx" or "torch"`, `list of str`. Without None: no configuration can write it."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return " or ".join(map(value_told, args))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(type_told(each) for each in args if each is not types.NoneType))
    if origin is not None:
        return _container_told(origin, args)
    return "anything" if hint is Any else str(getattr(hint, "__name__", hint))


def value_told(value: Any) -> str:
    """A value as a configuration has it; None as nothing."""
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _container_told(origin: Any, args: tuple[Any, ...]) -> str:
    name = str(origin.__name__)
    if name == "Mapping" or issubclass(origin, dict):
        return "table" if args[-1] is Any else f"table of {type_told(args[-1])}"
    if name in ("Sequence", "Collection", "list"):
        return f"list of {type_told(args[0])}"
    return "list" if issubclass(origin, tuple) else name


def _option(parameter: inspect.Parameter, hint: Any, about: str) -> Option:
    needed = parameter.default is inspect.Parameter.empty
    return Option(parameter.name, type_told(hint), needed, None if needed else parameter.default, about)


def _method(cls: type, name: str) -> Method:
    function = getattr(cls, name)
    parameters = inspect.signature(function).parameters.values()
    given = [each.replace(annotation=inspect.Parameter.empty) for each in parameters if each.name != "self"]
    return Method(name, str(inspect.Signature(given)), _first_paragraph(inspect.getdoc(function) or ""))


def _first_paragraph(text: str) -> str:
    return " ".join(text.partition("\n\n")[0].split())


def _options_told(text: str) -> Iterator[tuple[str, str]]:
    """Names and what is said of each."""
    names, words = "", ""
    for line in [*text.splitlines(), ""]:
        begins = _OPTION.fullmatch(line)
        if names and line.startswith(" "):
            words += " " + line.strip()
            continue
        yield from ((name, words) for name in names.split(", ") if name)
        names, words = begins.groups() if begins else ("", "")
