"""How a model is kept, whatever loads it: the keys that each table [models.NAME] may have besides its own.

    lazy = true                 loaded at its first call, not when the server starts
    keep = true                 never unloaded to make room for others, nor when memory is short
    ttl = 300.0                 unloaded after so many seconds without a call; the next one loads it again
    canary = {args = ["@page.png"]}
                                ready means that this call was answered; false for none; several in a list
    canary_every = 60.0         seconds from one canary to the next; 0: only when it is loaded
    warmup = {args = ["@longest.npy"]}
                                a call made before it is ready, so that no caller pays for the first one

A call is {method, args, kwargs, expect}, all optional: without a method it is the model's main one; `expect`
is the result that it must give. Text that begins with @ is a file, read anew each time: a .npy file as the
array in it, any other as its bytes. For an ONNX model's `run`, kwargs are the inputs by their names.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from .kinds import DETAILS
from .mistakes import Mistake, from_validation
from .settings import ProbeSettings, Upkeep

CALLS: Final = ("canary", "warmup")
KEYS: Final = ("lazy", "keep", "ttl", "canary", "canary_every", "warmup")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class UpkeepTable(_Strict):
    """The plain ones of the keys."""

    lazy: bool = False
    keep: bool = False
    ttl: Annotated[float, Field(gt=0)] | None = None
    canary_every: Annotated[float, Field(ge=0)] = 60.0


class ProbeTable(_Strict):
    """A call."""

    method: str | None = None
    args: list[JsonValue] = Field(default_factory=list)
    kwargs: dict[str, JsonValue] = Field(default_factory=dict)
    expect: JsonValue = None


def check_upkeep(
    where: str, table: dict[str, Any], folder: Path | None, mistakes: list[Mistake]
) -> tuple[Upkeep, dict[str, Any]]:
    """The keys above, checked, and the rest of the table. Files count from ``folder``; None: none but absolute."""
    rest = {key: value for key, value in table.items() if key not in KEYS}
    found: dict[str, Any] = {}
    try:
        plain = {key: table[key] for key in UpkeepTable.model_fields if key in table}
        found = UpkeepTable.model_validate(plain).model_dump()
    except ValidationError as exc:
        mistakes += from_validation(exc, where, KEYS)
    for key in CALLS:
        if key in table:
            found[key] = _calls(f"{where}.{key}", table[key], table.get("kind"), folder, mistakes)
    return Upkeep(**found), rest


def _calls(where: str, value: Any, kind: Any, folder: Path | None, mistakes: list[Mistake]) -> list[ProbeSettings]:
    if value is False:
        return []
    calls = value if isinstance(value, list) else [value]
    if not all(isinstance(call, dict) for call in calls):
        mistakes.append(Mistake(where, f"it is a table {_form()}, a list of such tables, or false, not {value!r}"))
        return []
    return [_call(where, call, kind, folder, mistakes) for call in calls]


def _call(where: str, table: dict[str, Any], kind: Any, folder: Path | None, mistakes: list[Mistake]) -> ProbeSettings:
    try:
        checked = ProbeTable.model_validate(table)
    except ValidationError as exc:
        mistakes += from_validation(exc, where, tuple(ProbeTable.model_fields))
        return ProbeSettings()
    fields = checked.model_dump()
    for key in ("args", "kwargs"):
        fields[key] = _files(f"{where}.{key}", fields[key], folder, mistakes)
    _check_method(f"{where}.method", checked.method, kind, mistakes)
    return ProbeSettings(**fields)


def _check_method(where: str, method: str | None, kind: Any, mistakes: list[Mistake]) -> None:
    if method is None:
        return
    if isinstance(kind, str) and kind in DETAILS and method not in DETAILS[kind].exposed:
        mistakes.append(Mistake.unknown(where, "method", DETAILS[kind].exposed, method))
    elif method.startswith("_") or not method.isidentifier():
        mistakes.append(Mistake(where, f"it is the name of a public method, not {method!r}"))


def _files(where: str, value: Any, folder: Path | None, mistakes: list[Mistake]) -> Any:
    if isinstance(value, dict):
        return {key: _files(where, item, folder, mistakes) for key, item in value.items()}
    if isinstance(value, list):
        return [_files(where, item, folder, mistakes) for item in value]
    if not isinstance(value, str) or not value.startswith("@"):
        return value
    path = os.path.expanduser(value[1:])
    if folder is None and not os.path.isabs(path):
        mistakes.append(Mistake(where, f"give an absolute path, not {value!r}"))
        return value
    full = os.path.normpath(os.path.join(folder or "/", path))
    if not os.path.isfile(full):
        mistakes.append(Mistake(where, f"no such file: {full}"))
    return f"@{full}"


def _form() -> str:
    return f"{{{', '.join(ProbeTable.model_fields)}}}"
