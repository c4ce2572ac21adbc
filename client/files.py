"""Arguments that are files: read here, with the caller's rights, where a method takes files."""

from __future__ import annotations

import os
from typing import Any

from sharedmodel.errors import BadArgument


def with_files_read(
    info: dict[str, Any], method: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments with files read here, with the caller's rights, where a method takes files.

    Raises what opening the file raises.
    """
    places = info.get("files", {}).get(method)
    if not places:
        return args, kwargs
    read = tuple(read_file(arg) if index in places else arg for index, arg in enumerate(args))
    return read, {key: read_file(arg) if key in places else arg for key, arg in kwargs.items()}


def read_file(value: Any) -> Any:
    """The bytes of a file that is named (a str or path, or a list of them); anything else as it is."""
    if isinstance(value, list | tuple):
        return [read_file(item) for item in value]
    if not isinstance(value, str | os.PathLike):
        return value
    try:
        with open(value, "rb") as file:
            return file.read()
    except IsADirectoryError as exc:
        raise BadArgument(f"{os.fspath(value)!r} is a folder, not a file") from exc
