"""A model's names on the wire: `ocr`, and `ocr@2` for one of its versions."""

from __future__ import annotations

from typing import Final

SEPARATOR: Final = "@"


def full_name(model: str, version: str | None) -> str:
    """A version's name on the wire; the model's own for None."""
    return model if version is None else f"{model}{SEPARATOR}{version}"


def model_of(name: str) -> str:
    """The model that a name is for, with or without a version."""
    return name.partition(SEPARATOR)[0]
