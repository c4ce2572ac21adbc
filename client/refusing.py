"""How a stand-in says that it can't do something: by name, at once, with what to do instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn


def refuse(what: str, why: str) -> NoReturn:
    """Raise NotImplementedError."""
    raise NotImplementedError(f"{what} is not carried by this stand-in: {why}")


def refused(what: str, why: str) -> Callable[..., Any]:
    """A method that is there only to say so."""

    def method(*_: object, **__: object) -> NoReturn:
        refuse(what, why)

    method.__name__ = method.__qualname__ = what.rpartition(".")[2]
    method.__doc__ = f"Not carried: {why}."
    return method
