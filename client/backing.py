"""The model behind a stand-in: found in a host by what it is, so that two who ask for the same share one.

stand-in ─► Wanted (kind, options, files; plain data) ─► host ─┬─ embedded: loads it, once
                                                               └─ configured: finds it in its list
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeVar

from sharedmodel.errors import HostUnavailable, UnknownObject
from sharedmodel.outside import refers_outside

from .again import DIRECTORY
from .host import Host, connect
from .model import Model

T = TypeVar("T")

_UNKNOWN: Final = "-"  # the digest of what can't be compared by content
_STEM: Final = re.compile(r"[^A-Za-z0-9_]+")


class Wanted(NamedTuple):
    """What a user asked for, as plain data. ``files``: for each option that is a file, its size and digest."""

    name: str
    kind: str
    options: dict[str, Any]
    files: dict[str, dict[str, Any]]

    @classmethod
    def of(
        cls, kind: str, options: Mapping[str, Any], paths: Mapping[str, str], data: tuple[str, bytes] | None = None
    ) -> Wanted:
        """``paths``: options that are files (absolute paths); ``data``: an option given as bytes.

        The name tells apart what differs: options, the files' places, and which files lie there now.
        """
        files: dict[str, dict[str, Any]] = {
            option: {"size": _size(path), "digest": None} for option, path in paths.items()
        }
        identity: list[Any] = [kind, sorted(options.items()), [_identity(path) for path in paths.values()]]
        if data is not None:
            option, content = data
            files[option] = {"size": len(content), "digest": hashlib.sha256(content).hexdigest()}
            identity.append(files[option])
        text = json.dumps(identity, sort_keys=True, default=str)
        stem = _STEM.sub("_", next((os.path.basename(path) for path in paths.values()), "")).strip("_")[:40]
        key = hashlib.sha256(text.encode()).hexdigest()[:16]
        return cls("-".join(filter(None, (kind, stem, key))), kind, {**options, **paths}, files)

    def with_digests(self) -> Wanted:
        """The same, with the content of each file looked at."""
        known = {
            option: file if file["digest"] or option not in self.options else _looked_at(self.options[option])
            for option, file in self.files.items()
        }
        return self._replace(files=known)


class Backing:
    """A model in a host. Works in every thread and process; pickles by reference.

    When its host has ended, it is asked for again, which starts an embedded one.
    """

    def __init__(self, wanted: Wanted, data: bytes | None = None) -> None:
        """Raises LoadFailed, NotPermitted with the lines to add to a configuration, or what `connect` raises."""
        self.wanted = wanted
        self._data = data
        self.model = self._found()

    def call(self, call: Callable[[Model], T]) -> T:
        """What ``call`` makes of the model."""
        try:
            return call(self.model)
        except (HostUnavailable, UnknownObject):
            # An embedded host that nobody used for a while; or its successor, which has never heard of the model.
            self.model = self._found()
            return call(self.model)

    def _found(self) -> Model:
        host, wanted, data = connect(), self.wanted, None
        while True:
            answer = _obtain(host, wanted, data)
            if "name" in answer:
                return host.model(answer["name"])
            if answer["needs"] == "digests":
                wanted = wanted.with_digests()
            elif self._data is not None:
                data = self._data
            else:
                raise HostUnavailable(
                    "the host that had this model has ended, and its bytes were given in another process; "
                    "make the object here again"
                )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_data": None}


def about(kind: str) -> dict[str, Any]:
    """What a host tells of the library behind a kind of model."""
    told: dict[str, Any] = connect()._ask(DIRECTORY, "about", kind)
    return told


def on_hub(name: str, revision: str | None, cache: Any, local_only: bool = False) -> dict[str, Any]:
    """Options that mean a model by its name on the hub, without those that are not set."""
    place = None if cache is None else os.path.abspath(cache)
    options = {"name": name, "revision": revision, "cache_folder": place, "local_files_only": bool(local_only) or None}
    return {option: value for option, value in options.items() if value is not None}


def file_path(path: str | os.PathLike[str]) -> str:
    """An absolute path to the same file, the same for all who name it through links to its folder.

    The last part stays as it is: what belongs to the file lies beside it, not beside what it links to.
    """
    folder, name = os.path.split(os.path.abspath(path))
    return os.path.join(os.path.realpath(folder), name)


def _obtain(host: Host, wanted: Wanted, data: bytes | None) -> dict[str, Any]:
    answer: dict[str, Any] = host._ask(
        DIRECTORY, "obtain", wanted.name, wanted.kind, wanted.options, wanted.files, data
    )
    return answer


def _identity(path: str) -> list[Any]:
    try:
        found = os.stat(path)
    except OSError:
        return [path]
    return [path, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns]


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except OSError:
        return None


def _looked_at(path: str) -> dict[str, Any]:
    """Size and digest; none of a model whose weights lie elsewhere: equal files may be different models."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size and refers_outside(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)):
                return {"size": size, "digest": _UNKNOWN}
            return {"size": size, "digest": hashlib.file_digest(file, "sha256").hexdigest()}
    except OSError:
        return {"size": None, "digest": _UNKNOWN}
