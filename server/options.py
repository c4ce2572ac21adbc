"""An adapter's options against its constructor: names, types, files. Its libraries are not imported."""

from __future__ import annotations

import inspect
import os
import typing
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, ValidationError, create_model

from .kinds import DETAILS, adapter
from .mistakes import Mistake, from_validation


def check_options(
    where: str,
    kind: str,
    options: dict[str, Any],
    folder: Path | None,
    mistakes: list[Mistake],
    common: tuple[str, ...] = (),
) -> dict[str, Any]:
    """The options, with paths made absolute (from ``folder``; None: they must be so already).

    ``common``: keys that any model may have, named to who mistypes one.
    """
    checked = {key: _path(where, kind, key, value, folder, mistakes) for key, value in options.items()}
    parameters, open_ended = parameters_of(kind)
    table = create_model(
        "Options",
        __config__=ConfigDict(extra="allow" if open_ended else "forbid", strict=True, arbitrary_types_allowed=True),
        **parameters,
    )
    try:
        table.model_validate(checked)
    except ValidationError as exc:
        mistakes += from_validation(exc, where, ("kind", *parameters, *common))
    return checked


def parameters_of(kind: str) -> tuple[dict[str, Any], bool]:
    """The constructor's parameters as fields, and whether it takes others besides."""
    constructor = adapter(kind).__init__
    types = typing.get_type_hints(constructor)
    fields: dict[str, Any] = {}
    open_ended = False
    for name, parameter in list(inspect.signature(constructor).parameters.items())[1:]:
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            open_ended = True
        else:
            default = ... if parameter.default is inspect.Parameter.empty else parameter.default
            fields[name] = (types.get(name, Any), default)
    return fields, open_ended


def _path(where: str, kind: str, key: str, value: Any, folder: Path | None, mistakes: list[Mistake]) -> Any:
    if key not in DETAILS[kind].paths or not isinstance(value, str):
        return value
    expanded = os.path.expanduser(value)
    if folder is None and not os.path.isabs(expanded):
        mistakes.append(Mistake(f"{where}.{key}", f"give an absolute path, not {value!r}"))
        return value
    full = os.path.normpath(os.path.join(folder or "/", expanded))
    if key not in DETAILS[kind].made and not os.path.exists(full):
        mistakes.append(Mistake(f"{where}.{key}", f"no such file or folder: {full}"))
    return full
