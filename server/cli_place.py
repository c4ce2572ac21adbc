"""Which server a command means: the directory given, else the user's own, else an embedded one."""

from __future__ import annotations

import errno
import glob
import os

from sharedmodel import link
from sharedmodel.errors import HostUnavailable

from .place import Place


def all_places(runtime_dir: str | None) -> list[Place]:
    """The directory asked for or the user's, whether it is there or not, and those of embedded servers in it."""
    own = Place.seen(runtime_dir)
    nested = sorted(glob.glob(os.path.join(glob.escape(own.directory), "e-*", "")))
    return [own, *(Place(path) for path in nested)]


def not_there(place: Place) -> str:
    """That there is no such directory, for people."""
    return f"there is no runtime directory {place.directory}"


def running_places(runtime_dir: str | None) -> list[Place]:
    """Those where a supervisor lives; the first alone if there is none, for its error to be told.

    Raises HostUnavailable where there is no such directory.
    """
    places = all_places(runtime_dir)
    if not places[0].is_there:
        raise HostUnavailable(errno.ENOENT, not_there(places[0]))
    return [place for place in places if link.answers(place.control)] or places[:1]
