"""What a folder of pages says of itself, in a file in it: what was done with which pages.

The names in such a folder tell neither, so that those of other pages would be taken for done.
"""

from __future__ import annotations

import json
import os
from typing import Final

from sharedmodel.errors import BadArgument

NAME: Final = ".sharedmodel.json"


def claim(folder: str, pipeline: str, root: str, *, restart: bool) -> int:
    """Say that it is for this pipeline and the pages below ``root``; since when, in the nanoseconds of its files.

    A folder that says nothing yet, made by hand or by an earlier version, is taken as it is. Raises BadArgument for
    one that is for something else, unless nothing else is in it or it is a ``restart``.
    """
    path = os.path.join(folder, NAME)
    found = None if restart or os.listdir(folder) == [NAME] else _read(path)
    if found is None:
        return _write(path, pipeline, root, restart=restart)
    theirs, their_root, since = found
    if (theirs, their_root) != (pipeline, root):
        raise BadArgument(
            f"{folder} was made by the pipeline {theirs!r} from {their_root}, and this is {pipeline!r} from {root}: "
            "name another folder, or begin anew with --restart"
        )
    return since


def _read(path: str) -> tuple[str, str, int] | None:
    try:
        with open(path, "rb") as file:
            told = json.load(file)
        return str(told["pipeline"]), str(told["root"]), int(told["since"])
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError):
        raise BadArgument(f"{path} is none of ours; name another folder") from None


def _write(path: str, pipeline: str, root: str, *, restart: bool) -> int:
    beside = f"{path}.part"
    with open(beside, "wb") as file:
        since = os.fstat(file.fileno()).st_mtime_ns if restart else -1  # the clock of the files, not ours
        file.write(json.dumps({"pipeline": pipeline, "root": root, "since": since}).encode())
    os.replace(beside, path)
    return since
