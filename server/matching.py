"""Which of the configured models a client means that names it by kind, file and options; or what to add.

Two mean the same model when their files are the same (one file, or equal in content) and the options
that can change a result are equal. How many threads a model gets is the server's own affair, and so is its device:
a model that a configuration puts on a GPU is meant by who asks for no provider, and by who asks for CUDA's.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import os
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from .kinds import DETAILS, adapter
from .machine.governor import CPU
from .settings import ModelSettings

_CUDA: Final = "CUDAExecutionProvider"
_TOLD: Final = 5  # models whose differences are told


class Wanted(NamedTuple):
    """``files``: for each option that is a file, its size, and its SHA-256 if the client has looked."""

    kind: str
    options: dict[str, Any]
    files: Mapping[str, Mapping[str, Any]]


def find(models: Mapping[str, ModelSettings], wanted: Wanted) -> str | None:
    """The name of the model that is wanted, or None."""
    return next((name for name, model in models.items() if _alike(model, wanted) and _same_files(model, wanted)), None)


def needs_digests(models: Mapping[str, ModelSettings], wanted: Wanted) -> bool:
    """Whether one of them may be the model that is wanted, if the files' contents were known to be equal."""
    unknown = [option for option, file in wanted.files.items() if not file.get("digest")]
    if not unknown:
        return False
    sizes = [wanted.files[option]["size"] for option in unknown]
    return any(
        _alike(model, wanted) and [_size(_full(wanted.kind, model.options).get(option)) for option in unknown] == sizes
        for model in models.values()
    )


def differences(models: Mapping[str, ModelSettings], wanted: Wanted) -> str:
    """The models of the kind that is wanted, and what each has that is not as wanted; empty where there is none."""
    theirs, own = _full(wanted.kind, wanted.options), DETAILS[wanted.kind].own
    told = []
    for name, model in models.items():
        if model.kind == wanted.kind:
            ours = _full(wanted.kind, model.options)
            other = [key for key in ours if key not in own and _toml(ours[key]) != _toml(theirs.get(key))]
            said = [f"no {key}" if ours[key] is None else f"{key} = {_toml(ours[key])}" for key in other]
            told.append(f"{name} ({', '.join(said)})")
    more = [f"{len(told) - _TOLD} more"] if len(told) > _TOLD else []
    return "; ".join(told[:_TOLD] + more)


def lines(name: str, wanted: Wanted) -> str:
    """What to write into the configuration to have the model served."""
    text = [f"[models.{name}]", f"kind = {_toml(wanted.kind)}"]
    for option, file in wanted.files.items():
        if option not in wanted.options:
            text.append(f'{option} = "..."  # a file with the bytes of SHA-256 {file["digest"]}')
    text += [f"{key} = {_toml(value)}" for key, value in wanted.options.items() if value is not None]
    return "\n".join(text)


def _alike(model: ModelSettings, wanted: Wanted) -> bool:
    return model.kind == wanted.kind and _plain(wanted.kind, model.options) == _plain(
        wanted.kind, _asked(model, wanted)
    )


def _asked(model: ModelSettings, wanted: Wanted) -> dict[str, Any]:
    """The options that are wanted, without those that the model's device has settled."""
    if model.device in (None, CPU) or _CUDA not in (wanted.options.get("providers") or ()):
        return wanted.options
    return {key: value for key, value in wanted.options.items() if key not in ("providers", "provider_options")}


def _plain(kind: str, options: dict[str, Any]) -> str:
    """The options that count, in a form that can be compared."""
    left_out = {*DETAILS[kind].paths, *DETAILS[kind].own}
    # An empty one is one that was not given.
    counts = {
        key: value
        for key, value in _full(kind, options).items()
        if key not in left_out and value not in (None, {}, [], ())
    }
    return json.dumps(counts, sort_keys=True, default=list)


def _full(kind: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options with the defaults, as the adapter tells them apart."""
    cls = adapter(kind)
    parameters = inspect.signature(cls.__init__).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    full: dict[str, Any] = getattr(cls, "compared", dict)({**defaults, **options})
    return full


def _same_files(model: ModelSettings, wanted: Wanted) -> bool:
    ours, theirs = _full(wanted.kind, model.options), _full(wanted.kind, wanted.options)
    return all(
        _same_file(ours.get(option), theirs.get(option), wanted.files.get(option, {}).get("digest"))
        for option in DETAILS[wanted.kind].paths
    )


def _same_file(ours: str | None, theirs: str | None, digest: str | None) -> bool:
    if ours is None or (theirs is None and digest is None):
        return ours is None and theirs is None and digest is None
    try:
        if theirs is not None and (ours == theirs or os.path.samefile(ours, theirs)):
            return True
    except OSError:  # it is not there, or not for this user to see
        pass
    return digest is not None and _digest(ours) == digest


def _digest(path: str) -> str | None:
    try:
        found = os.stat(path)
        return _digest_of(path, found.st_ino, found.st_size, found.st_mtime_ns)
    except OSError:
        return None


@functools.lru_cache(64)
def _digest_of(path: str, *identity: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _size(path: Any) -> int | None:
    try:
        return os.stat(path).st_size
    except (OSError, TypeError):
        return None


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_toml(str(key))} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)  # TOML's own way for text, numbers and booleans
