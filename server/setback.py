"""Why a load came to nothing: as text, because a kept exception would pin its frames, and what they hold is large."""

from __future__ import annotations

import traceback
from typing import Final, NamedTuple

from sharedmodel import failure
from sharedmodel.errors import LoadFailed, NotEnoughMemory, RemoteTraceback

from .canary import CanaryFailed

MOST: Final = 4_000  # characters of what is told of each state, by every host and at each change
_TRACE: Final = 40_000


class Setback(NamedTuple):
    """Of the load with number ``flight``."""

    flight: int
    reason: str = ""
    trace: str = ""
    type_name: str = ""  # of what was raised, and its own words
    text: str = ""
    numbers: tuple[int, ...] = ()  # of NotEnoughMemory

    @classmethod
    def of(cls, flight: int, name: str, exc: BaseException) -> Setback:
        """What an exception told of a load of model ``name``."""
        text = brief(failure.words_of(exc))
        if isinstance(exc, NotEnoughMemory):
            return cls(flight, text, text=text, numbers=(exc.needed, exc.in_use, exc.budget, exc.freeable))
        what = text if isinstance(exc, CanaryFailed) else brief(failure.headline(exc))
        trace = failure.plain("".join(traceback.format_exception(exc))[-_TRACE:])
        type_name = f"{type(exc).__module__}.{type(exc).__qualname__}"
        return cls(flight, brief(f"model {name!r} could not be loaded: {what}"), trace, type_name, text)

    def error(self) -> LoadFailed:
        """To be raised to who waited for it."""
        if self.numbers:
            return NotEnoughMemory(self.reason, *self.numbers)
        exc = LoadFailed(self.reason, self.type_name, self.text)
        exc.__cause__ = RemoteTraceback(self.trace)
        return exc


def brief(text: str) -> str:
    """Its beginning, which is all of most; it can be sent to anybody."""
    return failure.plain(text if len(text) <= MOST else f"{text[:MOST]}…")
