"""Where a server has a model: asked at first, and again when it is not there any more.

A new configuration may give a model hosts of its own, or take them away, under those who call it.
"""

from __future__ import annotations

import time
from typing import Any, Final

from sharedmodel import deadlines
from sharedmodel.errors import BadArgument, HostLost, SharedModelError, UnknownObject
from sharedmodel.sessions import SESSIONS

from .again import Where, addresses_of, directory_of
from .instances import Instances
from .waiting import described

PATIENCE: Final = 2.0  # seconds in which the directory learns of a change, and a new host of its first models
PAUSE: Final = 0.05
NOT_YET: Final = (UnknownObject, BadArgument, HostLost)  # what the directory, or the host that it names, may say then


def placed(directory: str, name: str, end: float | None) -> tuple[Where, dict[str, Any]]:
    """Where a model is, and what is to be known of it; waits until it is loaded (see `described`)."""
    info = described(directory, name, end)
    if (told := info.get("elsewhere")) is None:
        return directory, info
    instances = Instances(**told)
    for address in instances.addresses:
        SESSIONS.follow(address, directory)
    return instances, described(instances, name, end)


def may_have_moved(name: str, exc: SharedModelError) -> bool:
    """Whether an error says that nobody is there, or somebody else; a model's own `UnknownObject` does not."""
    return isinstance(exc, HostLost) or any(f"no {what} {name!r} here" in str(exc) for what in ("object", "model"))


def moved(where: Where, name: str, exc: SharedModelError, end: float | None) -> tuple[Where, dict[str, Any]] | None:
    """Where a model is by now, if not ``where`` it was, as ``exc`` seems to say; None: the error stands."""
    if not may_have_moved(name, exc):
        return None
    until = time.monotonic() + PATIENCE
    while True:
        try:
            found = placed(directory_of(where), name, end)
            if addresses_of(found[0]) != addresses_of(where):
                return found
        except NOT_YET:
            if isinstance(where, str) and isinstance(exc, HostLost):
                return None  # the directory itself is gone
        if deadlines.left(end) == 0 or time.monotonic() > until:
            return None
        time.sleep(PAUSE)
