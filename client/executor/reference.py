"""Functions by reference: "module:qualname" is what crosses, and the worker imports it. Nothing is pickled.

A partial is taken apart: its arguments travel with the task's.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable
from typing import Any, NamedTuple


class Work(NamedTuple):
    """What a worker is to call: the function's reference, and its arguments."""

    reference: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def work(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Work:
    """A call as it travels. Raises TypeError for a function that can't be found by its name."""
    while isinstance(function, functools.partial):
        args, kwargs, function = (*function.args, *args), {**function.keywords, **kwargs}, function.func
    return Work(reference(function), args, kwargs)


def reference(function: Any) -> str:
    """The name under which a worker finds a function. Raises TypeError where there is none, and says why."""
    if not callable(function):
        raise TypeError(f"{function!r} is not a function")
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not module or not name:
        raise TypeError(f"{function!r} {_ALLOWED}: it has no name of its own")
    shown = f"{module}.{name}"
    if "<lambda>" in name or "<locals>" in name:
        raise TypeError(f"{shown} {_ALLOWED}: it exists only in the call that made it")
    if module == "__main__" and not _main_can_be_imported():
        raise TypeError(f"{shown} {_ALLOWED}: this program has no file that could be imported; move it to a module")
    try:
        found = _walk(sys.modules[module], name)
    except (KeyError, AttributeError):
        found = None
    if found is not function and found != function:
        raise TypeError(f"{shown} {_ALLOWED}: by that name there is {'nothing' if found is None else repr(found)}")
    return f"{module}:{name}"


_ALLOWED = "can't be sent to a worker, which imports functions by name (a function or class of a module)"


def resolve(name: str) -> Callable[..., Any]:
    """The function of a reference. Raises ImportError or AttributeError."""
    module, _, qualname = name.partition(":")
    found: Callable[..., Any] = _walk(importlib.import_module(module), qualname)
    return found


def _walk(found: Any, qualname: str) -> Any:
    for part in qualname.split("."):
        found = getattr(found, part)
    return found


def _main_can_be_imported() -> bool:
    main = sys.modules["__main__"]
    return getattr(main, "__spec__", None) is not None or getattr(main, "__file__", None) is not None
