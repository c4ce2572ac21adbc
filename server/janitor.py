"""What dead processes left behind, and its removal. What belongs to a living one is never touched.

/dev/shm/sharedmodel-*     a segment whose creator was killed between making and unlinking it
manager-PID-*.sock         the socket of a ModelManager that was killed
host.sock, control.sock    those of a supervisor that was killed
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Final, NamedTuple

from sharedmodel import link, segment
from sharedmodel.errors import HostUnavailable, SharedModelError

from .place import Held, Lock, Place

_OWN: Final = ("host.sock", "control.sock", "host.sock~")


class Litter(NamedTuple):
    """Something to remove: its path, its bytes, and why it may go."""

    path: str
    size: int
    why: str


def collect(places: Iterable[Place]) -> list[Litter]:
    """Remove it; what was removed."""
    removed = segments()
    for leftover in segment.leftovers():
        segment.remove(leftover)
    for place in places:
        for litter in stale_sockets(place):
            os.unlink(litter.path)
            removed.append(litter)
    return removed


def segments() -> list[Litter]:
    """Names in /dev/shm whose creator is dead."""
    return [
        Litter(f"{segment.DIRECTORY}/{left.name}", left.size, "its creator is dead") for left in segment.leftovers()
    ]


def stale_sockets(place: Place) -> list[Litter]:
    """Sockets in the runtime directory that nobody serves and nobody is about to serve."""
    if not place.is_there:
        return []
    try:
        lock = Lock(place)
    except Held:
        own: tuple[str, ...] = ()  # a supervisor lives: they are its
    else:
        lock.close()
        own = _OWN
    found = []
    for name in sorted(os.listdir(place.directory)):
        path = os.path.join(place.directory, name)
        if (name in own or _of_dead_manager(name)) and not _answers(path):
            found.append(Litter(path, 0, "nobody listens"))
    return found


def _of_dead_manager(name: str) -> bool:
    parts = name.split("-")
    return parts[0] == "manager" and name.endswith(".sock") and parts[1].isdecimal() and not _lives(int(parts[1]))


def _lives(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")


def _answers(path: str) -> bool:
    try:
        probe = link.try_connect(path)
    except HostUnavailable:
        return False
    except (SharedModelError, OSError):
        return True  # unknown: not ours to remove
    if probe is not None:
        probe.close()
    return True
