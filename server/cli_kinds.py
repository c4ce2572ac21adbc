"""`sharedmodel models`: the kinds of model that a configuration may name, with their methods and options."""

from __future__ import annotations

from rich.text import Text

from .catalogue import Entry, entries, first_words, value_told
from .cli_console import console, print_json, table


def show(kind: str | None, as_json: bool) -> None:
    """Print all, shortly, or one kind with all that its options say. Raises BadArgument for one that there is not."""
    found = entries(kind)
    if as_json:
        print_json([entry.plain() for entry in found])
        return
    for number, entry in enumerate(found):
        if number:
            console().print()
        _print(entry, whole=kind is not None)


def _print(entry: Entry, whole: bool) -> None:
    out = console()
    about = entry.about if whole else first_words(entry.about)
    out.print(Text.assemble((entry.kind, "bold"), f"  {about}"))
    if whole:
        rows = [(f"{each.name}{each.arguments}", each.about) for each in entry.methods]
        out.print(table(("METHOD", "MEANING"), rows))
    else:
        out.print(Text(f"methods: {', '.join(method.name for method in entry.methods)}"))
    options = [
        (each.name, each.type, "(needed)" if each.needed else value_told(each.default), _said(each.about, whole))
        for each in entry.options
    ]
    if entry.others is not None:
        options.append(("…", "", "", _said(entry.others, whole)))
    out.print(table(("OPTION", "TYPE", "DEFAULT", "MEANING"), options))


def _said(about: str, whole: bool) -> str:
    return about if whole else first_words(about)
