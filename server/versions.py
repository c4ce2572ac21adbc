"""Several versions of one model, one of them the default.

    [models.ocr]
    kind = "cnocr"                    what the versions have in common
    default = "2"
    [models.ocr.versions.1]           and what is different in each
    rec_model_name = "doc-densenet_lite_136-gru"
    [models.ocr.versions.2]

Each is a model by itself, named `ocr@1`, `ocr@2`; `ocr` is the default one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from .mistakes import Mistake
from .names import full_name
from .settings import ModelSettings

KEYS: Final = ("versions", "default")
WHOLE: Final = ("isolate", "instances")  # which hosts serve a model does not hang on its version
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def check_versions(
    where: str, table: dict[str, Any], check: Callable[[str, dict[str, Any]], ModelSettings], mistakes: list[Mistake]
) -> ModelSettings:
    """The model that a table with versions describes. ``check`` is for one version, and tells its mistakes."""
    versions = table.get("versions")
    if not isinstance(versions, dict) or not versions or not all(isinstance(own, dict) for own in versions.values()):
        mistakes.append(Mistake(f"{where}.versions", f"write one table [{where}.versions.NAME] for each version"))
        return ModelSettings()
    mistakes += [
        Mistake(f"{where}.versions.{name}", "a version's name has letters, digits, '_', '.' and '-'")
        for name in versions
        if not _NAME.fullmatch(name)
    ]
    mistakes += [
        Mistake(f"{where}.versions.{name}.{key}", "it is for all versions together: give it in the model's own table")
        for name, own in versions.items()
        for key in WHOLE
        if key in own
    ]
    shared = {key: value for key, value in table.items() if key not in KEYS}
    before = len(mistakes)
    checked = {name: check(f"{where}.versions.{name}", {**shared, **own}) for name, own in versions.items()}
    mistakes[before:] = dict.fromkeys(_where_it_is(where, mistake, versions) for mistake in mistakes[before:])
    default = _default(where, table, versions, mistakes)
    return ModelSettings(versions=checked).with_default(default)


def one_by_one(models: Mapping[str, ModelSettings]) -> dict[str, ModelSettings]:
    """Each version under its name on the wire, after the models that are one: what clients can call."""
    plain = {name: model for name, model in models.items() if not model.versions}
    return plain | {
        full_name(name, version): one for name, model in models.items() for version, one in model.versions.items()
    }


def _default(where: str, table: dict[str, Any], versions: dict[str, Any], mistakes: list[Mistake]) -> str:
    default = table.get("default", next(iter(versions)) if len(versions) == 1 else None)
    if default is None:
        mistakes.append(Mistake(f"{where}.default", f"say which version is the default: {', '.join(versions)}"))
    elif not isinstance(default, str) or default not in versions:
        mistakes.append(Mistake.unknown(f"{where}.default", "version", tuple(versions), default))
    else:
        return default
    return next(iter(versions))


def _where_it_is(where: str, mistake: Mistake, versions: dict[str, Any]) -> Mistake:
    """A mistake in what the versions have in common is one, and stands there."""
    rest = mistake.key.removeprefix(f"{where}.versions.")
    for name, own in sorted(versions.items(), key=lambda item: -len(item[0])):  # "1.5" before "1"
        key = rest.removeprefix(f"{name}.")
        if key != rest:
            return mistake if key.partition(".")[0] in own else mistake._replace(key=f"{where}.{key}")
    return mistake
