"""The execution providers that a user names, checked as onnxruntime checks them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from .library import get_available_providers

_CPU = "CPUExecutionProvider"


def chosen(providers: Any, options: Any, *, fallback: bool) -> dict[str, Any]:
    """As options of a model; empty for the default.

    With ``fallback`` a mistake is printed and the processor taken, as onnxruntime does; without, it is raised.
    """
    try:
        named = _named(providers, options)
    except ValueError as exc:
        if not fallback:
            raise
        line = "*" * 15
        print(f"{line} EP Error {line}\nEP Error {exc} when using {providers}")
        print(f"Falling back to {[_CPU]} and retrying.\n{'*' * 40}")
        named = {}
    if not named or named == {_CPU: {}}:
        return {}
    carried: dict[str, Any] = {"providers": list(named)}
    if any(named.values()):
        carried["provider_options"] = list(named.values())
    return carried


def _named(providers: Any, options: Any) -> dict[str, dict[str, str]]:
    """Each provider once, with its options as text. Raises ValueError, or TypeError for what is no iterable."""
    if providers is None:
        return {}
    iter(providers)
    if not isinstance(providers, Sequence):
        raise ValueError("'providers' should be a sequence.")
    pairs = _paired(providers) if options is None else _zipped(providers, options)
    found: dict[str, dict[str, str]] = {}
    for name, given in pairs:
        _warn(name, found)
        found.setdefault(name, {str(key): str(value) for key, value in given.items()})
    return found


def _paired(providers: Sequence[Any]) -> list[tuple[str, dict[Any, Any]]]:
    pairs = []
    for provider in providers:
        pair = (provider, {}) if isinstance(provider, str) else provider
        if not (isinstance(pair, tuple) and [type(part) for part in pair] == [str, dict]):
            raise ValueError("'providers' values must be either strings or (string, dict) tuples.")
        pairs.append(pair)
    return pairs


def _zipped(providers: Sequence[Any], options: Any) -> list[tuple[str, dict[Any, Any]]]:
    if not isinstance(options, Sequence):
        raise ValueError("'provider_options' should be a sequence.")
    if len(providers) != len(options):
        raise ValueError("'providers' and 'provider_options' should be the same length if both are given.")
    if not all(isinstance(provider, str) for provider in providers):
        raise ValueError("Only string values for 'providers' are supported if 'provider_options' is given.")
    if not all(isinstance(given, dict) for given in options):
        raise ValueError("'provider_options' values must be dicts.")
    return list(zip(providers, options, strict=True))


def _warn(name: str, found: dict[str, dict[str, str]]) -> None:
    if name != _CPU:  # every host has that one: it need not be asked
        available = get_available_providers()
        if name not in available:
            warnings.warn(
                f"Specified provider '{name}' is not in available provider names."
                f"Available providers: '{', '.join(available)}'",
                stacklevel=6,
            )
    if name in found:
        warnings.warn(f"Duplicate provider '{name}' encountered, ignoring.", stacklevel=6)
