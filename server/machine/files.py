"""The kernel's small files: numbers and fields as text. What can't be read is None, never an error."""

from __future__ import annotations

import os


def read(*path: str) -> str | None:
    """A file's text; None where it is missing, forbidden or not to be read now."""
    try:
        with open(os.path.join(*path), encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return None


def number(*path: str) -> int | None:
    """A file with one number; None for "max" too."""
    text = (read(*path) or "").strip()
    return int(text) if text.isdecimal() else None


def fields(*path: str) -> dict[str, int]:
    """A file of lines `name number`, `name: number` or `name: number kB`. Sizes in kB become bytes."""
    found: dict[str, int] = {}
    for line in (read(*path) or "").splitlines():
        name, *values = line.split()[:3] or [""]
        if values and values[0].isdecimal():
            found[name.rstrip(":")] = int(values[0]) * (1024 if values[1:] == ["kB"] else 1)
    return found
