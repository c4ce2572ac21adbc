"""What a library raised in the host, raised here as what it would have been in this process."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from sharedmodel.errors import LoadFailed, RemoteError, RemoteTraceback

Twin = Callable[[str, str], Exception | None]
"""From the qualified name of a class and a message to the exception, or None for a class of nobody's."""


@contextmanager
def as_the_library(twin: Twin) -> Iterator[None]:
    """Turn what crosses as an error of ours into the library's own exception, remote traceback as its cause."""
    try:
        yield
    except LoadFailed as exc:
        _raise(exc, twin(exc.type_name, exc.text) or builtin(exc.type_name, exc.text), str(exc))
    except RemoteError as exc:
        name = exc.type_name.rpartition(".")[2]
        _raise(exc, twin(exc.type_name, str(exc).removeprefix(f"{name}: ")))
    except Exception as exc:
        # The library is loaded here as well: its class is known, but not yet that of the stand-in.
        kind = type(exc)
        _raise(exc, twin(f"{kind.__module__}.{kind.__qualname__}", str(exc)))


def builtin(type_name: str, text: str) -> Exception | None:
    """An exception of Python's own."""
    module, _, name = type_name.rpartition(".")
    found = getattr(builtins, name, None) if module == "builtins" else None
    if not isinstance(found, type) or not issubclass(found, Exception):
        return None
    try:
        return found(text) if text else found()
    except TypeError:  # UnicodeDecodeError and its like take more than a message
        return None


def _raise(exc: Exception, instead: Exception | None, load_failed: str = "") -> NoReturn:
    if instead is None:
        raise exc
    cause = exc.__cause__
    if load_failed:  # or nobody could tell it from what a call may raise
        cause = RemoteTraceback(cause.text if isinstance(cause, RemoteTraceback) else "", load_failed)
    raise instead from cause
