"""Which server a command means: the directory given, else the user's own, else an embedded one."""

from __future__ import annotations

import glob
import os

from sharedmodel.client.find import answers

from .place import Place


def all_places(runtime_dir: str | None) -> list[Place]:
    """The directory asked for or the user's, and those of embedded servers in it."""
    own = Place.find(runtime_dir)
    nested = sorted(glob.glob(os.path.join(glob.escape(own.directory), "e-*", "")))
    return [own, *(Place(path) for path in nested)]


def running_places(runtime_dir: str | None) -> list[Place]:
    """Those where a supervisor lives; the first alone if there is none, for its error to be told."""
    places = all_places(runtime_dir)
    return [place for place in places if answers(place.control)] or places[:1]
