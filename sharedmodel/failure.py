"""Exceptions as data: what crosses instead of an exception object.

[code, module, type name, message, args, traceback text]
"""

from __future__ import annotations

import builtins
import sys
import traceback
from typing import Any, Final

from .errors import Overloaded, ProtocolError, RemoteError, RemoteTraceback, SharedModelError, by_code

_PLAIN: Final = (str, int, float, bool, bytes, type(None))
_TEXT_MAX: Final = 64 << 10
_ARG_MAX: Final = 8 << 10  # longer ones cross in the message only


def to_wire(exc: BaseException) -> list[Any]:
    """An exception as six plain values, its traceback as text."""
    kind = type(exc)
    message = words_of(exc)
    args = [message, float(exc.retry_after)] if isinstance(exc, Overloaded) else _args(exc, message)
    return [code_of(exc), plain(kind.__module__), plain(kind.__qualname__), message, args, _traceback(exc)]


def _args(exc: BaseException, message: str) -> list[Any]:
    try:
        args = list(exc.args)
    except Exception:  # its class may have made anything of it
        return [message]
    return args if len(args) <= 8 and all(type(arg) in _PLAIN and _fits(arg) for arg in args) else [message]


def code_of(exc: BaseException) -> str:
    """Whose fault it is, as it crosses; of any exception that is not in our tree: the model's."""
    return exc.code if isinstance(exc, SharedModelError) else RemoteError.code


def _traceback(exc: BaseException) -> str:
    try:
        return plain("".join(traceback.format_exception(exc)))[-_TEXT_MAX:]
    except Exception:  # it is printed by code of the model's
        return "<a traceback that can't be printed>"


def forget_frames(exc: BaseException | None) -> None:
    """Let go of what the frames of an exception, and of those it came of, refer to."""
    seen = set()
    while exc is not None and id(exc) not in seen:
        seen.add(id(exc))
        BaseException.with_traceback(exc, None)  # assigned it would be through the class, which may be frozen
        exc = exc.__context__ if exc.__cause__ is None else exc.__cause__


def from_wire(parts: list[Any]) -> Exception:
    """The exception to raise here, with the remote traceback as its cause. Raises ProtocolError."""
    if len(parts) != 6 or type(parts[4]) is not list or not all(type(p) is str for p in (*parts[:4], parts[5])):
        raise ProtocolError("a malformed FAILURE frame")
    code, module, name, message, args, text = parts
    if code == RemoteError.code and name != RemoteError.__name__:
        exc = _own_type(module, name, args) or RemoteError(_headline(name, message), f"{module}.{name}")
    else:
        exc = _rebuild(by_code(code), args) or SharedModelError(message)
    BaseException.__setattr__(exc, "__cause__", RemoteTraceback(text))  # its class may be frozen
    return exc


def _own_type(module: str, name: str, args: list[Any]) -> Exception | None:
    """The model's own exception, if its class is a builtin or loaded here. Nothing is imported."""
    found: Any = builtins if module == "builtins" else sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, type) or not issubclass(found, Exception):
        return None
    return _rebuild(found, args)


def _rebuild(kind: type[Exception], args: list[Any]) -> Exception | None:
    try:
        return kind(*args)
    except Exception:  # a class with a signature of its own: keep its type and its args
        try:
            exc = kind.__new__(kind)
            BaseException.__setattr__(exc, "args", tuple(args))
        except Exception:
            return None
        return exc


def words_of(exc: BaseException) -> str:
    """An exception's text, bounded and without lone surrogates, whatever its class makes of `str`."""
    try:
        text = str(exc)
    except Exception:
        text = f"<{type(exc).__name__} that can't be printed>"
    text = plain(text)  # which may make it longer, and a frame has its bounds
    more = len(text) - _TEXT_MAX
    return text if more <= 0 else f"{text[:_TEXT_MAX]}… and {more} characters more"


def headline(exc: BaseException) -> str:
    """Its type and its text; the type alone of one without."""
    return _headline(type(exc).__name__, words_of(exc))


def _headline(name: str, text: str) -> str:
    return f"{name}: {text}" if text else name


def plain(text: object) -> str:
    """A text that can be sent to anybody."""
    # Lone surrogates must not keep the error from crossing.
    return str(text).encode("utf-8", "backslashreplace").decode()


def _fits(arg: Any) -> bool:
    if type(arg) is str:
        return len(arg) <= _ARG_MAX and _encodes(arg)
    return not (type(arg) is bytes and len(arg) > _ARG_MAX) and not (type(arg) is int and abs(arg) >> 63)


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
