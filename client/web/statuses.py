"""Which answer of HTTP an error is: pure, for any framework.

    status  error                                  whose fault
    422     BadArgument, CannotCross, Poisonous    the request's: sent again it fails again
            what a model raises for bad input
    503     Overloaded, NotEnoughMemory,           nobody's: sent again after `Retry-After` it may succeed
            HostLost, Cancelled
    503     LoadFailed, and what a stand-in        the model's: it can't be loaded
            raises in its place
    504     DeadlineExceeded, Stuck                nobody's, or the model's: it took too long

All else is a mistake of the application or of the model, and stays the framework's affair: 500 as a rule.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from typing import Final, NamedTuple

from sharedmodel.errors import (
    BadArgument,
    Cancelled,
    CannotCross,
    DeadlineExceeded,
    HostLost,
    LoadFailed,
    NotEnoughMemory,
    Overloaded,
    Poisonous,
    RemoteError,
    RemoteTraceback,
    SharedModelError,
    Stuck,
)

BAD_INPUT: Final = ("builtins.ValueError", "builtins.TypeError")
"""What a model raises, as a rule, for arguments that it can't take; qualified names, their subclasses included."""

BAD_PICTURE: Final = (
    *BAD_INPUT, "PIL.UnidentifiedImageError", "PIL.Image.DecompressionBombError", "builtins.OSError",
    "builtins.SyntaxError", "builtins.EOFError", "struct.error", "zlib.error",
)  # fmt: skip
"""The same for models that read pictures: with what Pillow raises for one that is broken."""

_RETRY: Final = 1.0  # seconds, where the host has said nothing: about what its restart takes
# In this order: the first that fits.
_STATUSES: Final[tuple[tuple[type[SharedModelError], int, bool], ...]] = (
    (Overloaded, 503, True),
    (NotEnoughMemory, 503, True),
    (LoadFailed, 503, False),
    (HostLost, 503, True),
    (Cancelled, 503, True),
    (DeadlineExceeded, 504, False),
    (Stuck, 504, False),
    (Poisonous, 422, False),
    (CannotCross, 422, False),
    (BadArgument, 422, False),
)


class Answer(NamedTuple):
    """A status, headers and a body, which is JSON: ``{"error": a stable name, "detail": for people}``."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def answer_of(exc: BaseException, bad_input: Collection[str] = BAD_INPUT) -> Answer | None:
    """The answer that an error of a call is; None for one that says nothing about the request.

    ``bad_input``: the qualified names of exceptions by which models refuse their input. Raised by the
    application itself they are no answer.
    """
    if isinstance(exc, SharedModelError):
        for kind, status, again in _STATUSES:
            if isinstance(exc, kind):
                return _answer(status, exc.code, str(exc), getattr(exc, "retry_after", _RETRY) if again else None)
    cause = exc.__cause__
    if isinstance(cause, RemoteTraceback) and cause.load_failed:
        return _answer(503, LoadFailed.code, cause.load_failed, None)
    if _is_refusal(exc, bad_input):
        return _answer(422, "bad-input", str(exc) or type(exc).__name__, None)
    return None


def _is_refusal(exc: BaseException, bad_input: Collection[str]) -> bool:
    if isinstance(exc, RemoteError):
        return exc.type_name in bad_input
    if isinstance(exc, SharedModelError) or not isinstance(exc.__cause__, RemoteTraceback):
        return False
    return any(f"{kind.__module__}.{kind.__qualname__}" in bad_input for kind in type(exc).__mro__)


def _answer(status: int, error: str, detail: str, retry_after: float | None) -> Answer:
    body = json.dumps({"error": error, "detail": detail}, ensure_ascii=False).encode()
    headers = [("content-type", "application/json"), ("content-length", str(len(body)))]
    if retry_after is not None:
        headers.append(("retry-after", str(max(1, math.ceil(retry_after)))))
    return Answer(status, tuple(headers), body)
