"""Deadlines: a moment of `time.monotonic`, or None for none, and how long a wait may take until then."""

from __future__ import annotations

import time
from numbers import Real
from typing import Any, Final

from .errors import BadArgument, DeadlineExceeded

LONGEST: Final = 1e6  # seconds: neither poll nor a lock can wait for as long as float("inf")


def checked(name: str, seconds: Any) -> float | None:
    """A time-out as somebody gave it: None for none. One that has passed is one. Raises BadArgument."""
    if seconds is not None and (not isinstance(seconds, Real) or seconds != seconds):
        raise BadArgument(f"{name} is a number of seconds, or None for no limit, not {seconds!r}")
    return None if seconds is None else float(seconds)


def after(timeout: float | None) -> float | None:
    """The deadline that is ``timeout`` seconds away, eleven days at most; None for None."""
    return None if timeout is None else time.monotonic() + min(timeout, LONGEST)


def left(end: float | None) -> float | None:
    """Seconds until a deadline, as conditions and time-outs want them; 0 when it has passed, None for None."""
    return None if end is None else max(0.0, end - time.monotonic())


def milliseconds(end: float | None) -> int | None:
    """How long a wait may take, as `select.poll` wants it."""
    return None if end is None else max(0, int((end - time.monotonic()) * 1000) + 1)


def seconds(end: float | None) -> float:
    """How long a wait may take, as locks want it: -1 for as long as it takes."""
    return -1.0 if end is None else max(0.0, end - time.monotonic())


def within(most: float, end: float | None) -> float:
    """The same, ``most`` seconds at most."""
    return most if end is None else min(most, seconds(end))


def check(end: float | None) -> None:
    """Raise DeadlineExceeded if the moment has come."""
    if end is not None and time.monotonic() >= end:
        raise too_late()


def too_late() -> DeadlineExceeded:
    return DeadlineExceeded("the caller's deadline passed before the result came")
