"""Reading what lies in a model's folder."""

from __future__ import annotations

import json
import os
from typing import Any


def read_json(folder: str, name: str) -> dict[str, Any]:
    """A table in a file; an empty one where there is no such file. Raises ValueError for a file that is no JSON."""
    try:
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            found = json.load(file)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return found if isinstance(found, dict) else {}


def read_list(folder: str, name: str) -> list[dict[str, Any]]:
    """A list of tables in a file; an empty one where there is no such file."""
    try:
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            found = json.load(file)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return found if isinstance(found, list) else []


def first_there(folder: str, *names: str) -> str | None:
    """The first of these files that is in the folder."""
    paths = (os.path.join(folder, name) for name in names)
    return next((path for path in paths if os.path.isfile(path)), None)
