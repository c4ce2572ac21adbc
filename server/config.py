"""The configuration file: TOML, checked strictly, its mistakes told all at once.

    [server]                       all optional
    runtime_dir = "run"            relative paths count from the file's folder
    idle_exit = 300
    memory = "8 GiB"               what the server may use; else what its control group or machine has
    devices = {"cuda:0" = "20 GiB"}
                                   the same of GPUs; else nineteen twentieths of each

    [models.ocr]                   an adapter: `kind`, and its constructor's options
    kind = "cnocr"

    [models.mine]                  an object of your own: what the callable returns is served
    factory = "package.module:callable"
    kwargs = {size = 3}
    idempotent = ["predict"]

Of either: `isolate` (a host of its own), `instances` (that many of it at once), `max_run` (seconds after
which a call is stuck), `weight` (its part of the processors beside the others', 1 by default), `device` (where it
runs: "cpu", "cuda" for the GPU that has most room, or "cuda:0"; of a factory the keyword argument `device`, given
where its table has one, is the one that was chosen: see `devices`); how it is kept
(`lazy`, `ttl`, `canary` ...: see `upkeep`); how its calls wait and run together (`max_batch`, `queue` ...:
see `scheduling.settings`); several versions of it (see `versions`).

``python -m sharedmodel.server.config FILE`` prints the checked settings as JSON, or the mistakes.
"""

from __future__ import annotations

import dataclasses
import grp
import os
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from sharedmodel.errors import BadArgument

from .devices import check_device, check_kwargs
from .kinds import DETAILS
from .mistakes import Mistake, from_validation
from .options import check_options
from .schedule_keys import KEYS as SCHEDULING_KEYS
from .schedule_keys import check_scheduling
from .settings import EMBEDDED_IDLE, ModelSettings, Settings
from .tables import COMMON, CommonTable, FactoryTable, ServerTable
from .upkeep import KEYS as UPKEEP_KEYS
from .upkeep import check_upkeep
from .versions import KEYS as VERSION_KEYS
from .versions import check_versions

NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_MOST: Final = (1 << 63) - 1  # no larger integer is in TOML, nor could it travel to the hosts
_MODEL_NAMES: Final = "letters, digits, '_', '.' and '-', the first of them no '.' or '-'"


class ConfigError(BadArgument):
    """The configuration has mistakes; one line each, beginning with the file."""


KEYS: Final = (*UPKEEP_KEYS, *SCHEDULING_KEYS)  # of any model as well, checked apart


def load(path: str | os.PathLike[str]) -> Settings:
    """The settings in a file. Raises ConfigError."""
    file = Path(path).absolute()
    try:
        with file.open("rb") as stream:
            document = tomllib.load(stream)
    except OSError as exc:
        raise ConfigError(f"{path}: {exc.strerror}") from exc
    except ValueError as exc:  # of TOML, of UTF-8, and of an integer that is too long to be read
        raise ConfigError(f"{path}: not TOML: {exc}") from exc
    mistakes = list(_too_large(document))
    settings = Settings() if mistakes else _check(document, file, mistakes)
    if mistakes:
        raise ConfigError("\n".join(f"{path}: {mistake}" for mistake in mistakes))
    return settings


def embedded(idle_exit: float | None = None) -> Settings:
    """The settings of a server that was started by and for one user."""
    return Settings(embedded=True, offline=False, idle_exit=EMBEDDED_IDLE if idle_exit is None else idle_exit)


def checked_spec(name: str, spec: Any) -> ModelSettings:
    """A model that a client asks for: a kind and its options, paths absolute. Raises BadArgument."""
    mistakes: list[Mistake] = []
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise BadArgument(f"{name!r} is no name for a model: {_MODEL_NAMES}")
    if not isinstance(spec, dict) or "factory" in spec:
        raise BadArgument(f"a model to load is given as kind and options; kinds are: {', '.join(DETAILS)}")
    settings = _model(name, spec, None, mistakes)
    if mistakes:
        raise BadArgument("; ".join(str(mistake) for mistake in mistakes))
    return settings


def _too_large(value: Any, *keys: str) -> Iterator[Mistake]:
    """Integers that nothing else here has to reckon with."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _too_large(item, *keys, key)
    elif isinstance(value, list):
        for item in value:
            yield from _too_large(item, *keys)
    elif isinstance(value, int) and not -_MOST - 1 <= value <= _MOST:
        yield Mistake(".".join(keys), f"an integer is from {-_MOST - 1} to {_MOST} (64 bits)")


def _check(document: dict[str, Any], file: Path, mistakes: list[Mistake]) -> Settings:
    unknown = (key for key in document if key not in ("server", "models"))
    mistakes.extend(Mistake.unknown(key, "top-level table", ("server", "models")) for key in unknown)
    server = _server(document.get("server", {}), file.parent, mistakes)
    tables = document.get("models", {})
    if not isinstance(tables, dict):
        mistakes.append(Mistake("models", "write one table [models.NAME] for each model"))
        tables = {}
    models = {name: _model(name, table, file.parent, mistakes) for name, table in tables.items()}
    if not models and not mistakes:
        mistakes.append(Mistake("models", "no model to serve: add a table [models.NAME] with `kind` or `factory`"))
    return Settings(models=models, config_file=str(file), **server)


def _server(table: Any, folder: Path, mistakes: list[Mistake]) -> dict[str, Any]:
    try:
        checked = ServerTable.model_validate(table)
    except ValidationError as exc:
        mistakes += from_validation(exc, "server", tuple(ServerTable.model_fields))
        return {}
    found = {key: value for key, value in checked.model_dump().items() if value is not None}
    for key in ("runtime_dir", "authkey_file"):
        if key in found:
            found[key] = str(folder / os.path.expanduser(found[key]))
    if "group" in found:
        found["group"] = _group(found["group"], mistakes)
    if "authkey_file" in found:
        _check_key(found["authkey_file"], mistakes)
    found["idle_exit"] = found.get("idle_exit") or None
    return found


def _group(group: str | int, mistakes: list[Mistake]) -> int | None:
    try:
        return grp.getgrnam(group).gr_gid if isinstance(group, str) else grp.getgrgid(group).gr_gid
    except KeyError:
        mistakes.append(Mistake("server.group", f"this machine has no group {group!r}"))
        return None


def _check_key(path: str, mistakes: list[Mistake]) -> None:
    try:
        mode = os.stat(path).st_mode
        with open(path, "rb") as file:
            empty = not file.read().strip()
    except OSError as exc:
        mistakes.append(Mistake("server.authkey_file", f"{path}: {exc.strerror}"))
        return
    if mode & 0o007:
        mistakes.append(Mistake("server.authkey_file", f"others may read {path}; run: chmod 600 {path}"))
    if empty:
        mistakes.append(Mistake("server.authkey_file", f"{path} is empty"))


def _model(name: str, table: Any, folder: Path | None, mistakes: list[Mistake]) -> ModelSettings:
    where = f"models.{name}"
    if not NAME.fullmatch(name):
        mistakes.append(Mistake(where, f"a model's name has {_MODEL_NAMES}"))
    if not isinstance(table, dict):
        mistakes.append(Mistake(where, "write it as a table [models.NAME]"))
    elif not table.keys().isdisjoint(VERSION_KEYS):
        return check_versions(where, table, lambda at, one: _one(at, one, folder, mistakes), mistakes)
    else:
        return _one(where, table, folder, mistakes)
    return ModelSettings()


def _one(where: str, table: dict[str, Any], folder: Path | None, mistakes: list[Mistake]) -> ModelSettings:
    """One version of a model, or the only one."""
    upkeep, rest = check_upkeep(where, table, folder, mistakes)
    scheduling, rest = check_scheduling(where, rest, mistakes)
    loaded_by = _loaded_by(where, rest, folder, mistakes)
    return dataclasses.replace(loaded_by, upkeep=upkeep, scheduling=scheduling)


def _loaded_by(where: str, table: dict[str, Any], folder: Path | None, mistakes: list[Mistake]) -> ModelSettings:
    if ("kind" in table) == ("factory" in table):
        mistakes.append(Mistake(where, "give either `kind` (an adapter) or `factory` (a callable of your own)"))
    elif "factory" in table:
        return _factory(where, table, mistakes)
    elif not isinstance(table["kind"], str) or table["kind"] not in DETAILS:
        mistakes.append(Mistake.unknown(f"{where}.kind", "value", tuple(DETAILS), table["kind"]))
    else:
        return _kind(where, table, folder, mistakes)
    return ModelSettings()


def _kind(where: str, table: dict[str, Any], folder: Path | None, mistakes: list[Mistake]) -> ModelSettings:
    kind = table["kind"]
    options = {key: value for key, value in table.items() if key != "kind" and key not in COMMON}
    checked = check_options(where, kind, options, folder, mistakes, (*COMMON, *KEYS))
    try:
        common = CommonTable.model_validate({key: value for key, value in table.items() if key in COMMON})
    except ValidationError as exc:
        mistakes += from_validation(exc, where, (*COMMON, *KEYS))
        return ModelSettings()
    check_device(where, kind, common.device, options, mistakes)
    return ModelSettings(kind=kind, options=checked, **common.model_dump())


def _factory(where: str, table: dict[str, Any], mistakes: list[Mistake]) -> ModelSettings:
    try:
        found = ModelSettings(**FactoryTable.model_validate(table).model_dump())
        check_kwargs(where, found.device, found.kwargs, mistakes)
        return found
    except ValidationError as exc:
        mistakes += from_validation(exc, where, (*FactoryTable.model_fields, *KEYS))
        return ModelSettings()


def main() -> int:
    try:
        print(load(sys.argv[1]).to_json())
    except ConfigError as exc:
        print(exc, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
