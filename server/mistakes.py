"""One mistake in a configuration: where it is, and what would be right."""

from __future__ import annotations

import difflib
from typing import Any, NamedTuple

from pydantic import ValidationError


class Mistake(NamedTuple):
    """``key`` is dotted, as it would be written in TOML."""

    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.key}: {self.text}"

    @classmethod
    def unknown(cls, key: str, what: str, allowed: tuple[str, ...], got: Any = None) -> Mistake:
        """Something that is not in a list; names what it may have been meant for."""
        given = str(key.rpartition(".")[2] if got is None else got)
        near = difflib.get_close_matches(given, allowed, 1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        shown = "" if got is None else f" {got!r}"
        return cls(key, f"unknown {what}{shown}{meant} (allowed: {', '.join(allowed)})")


def from_validation(exc: ValidationError, where: str, allowed: tuple[str, ...]) -> list[Mistake]:
    """pydantic's findings in our words. ``allowed`` are the keys of the table at ``where``."""
    found: dict[str, Mistake] = {}
    for error in exc.errors():
        # Members of a union each complain, under a name of their own that is no key of the file.
        names = [str(part) for part in error["loc"]]
        key = ".".join((where, *names[:1]))
        if error["type"] == "extra_forbidden":
            mistake = Mistake.unknown(key, "key", allowed)
        elif error["type"] == "missing":
            mistake = Mistake(key, "is missing")
        else:
            text = error["msg"].removeprefix("Value error, ")
            mistake = Mistake(key, f"{text[0].lower()}{text[1:]}, not {error['input']!r}")
        if key in found and error["type"] not in ("extra_forbidden", "missing"):
            mistake = Mistake(key, f"{found[key].text.rpartition(', not ')[0]}, or {mistake.text}")
        found[key] = mistake
    return list(found.values())
