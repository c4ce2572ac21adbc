"""The control groups that this process is in, of either version: its own and all above it that can be seen.

    /proc/self/cgroup       where it is in each hierarchy      4:memory:/docker/ab12/job
    /proc/self/mountinfo    what of the hierarchy is mounted   /docker/ab12 on /sys/fs/cgroup/memory
                            and so its folder is               /sys/fs/cgroup/memory/job

A limit counts wherever it is set on that way, so whoever asks for one looks at every group.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

from . import files


class Group(NamedTuple):
    """One group: its folder (root included), and whether the files in it are those of version 1 or 2."""

    folder: str
    version: int

    def read(self, name: str) -> str | None:
        return files.read(self.folder, name)

    def number(self, name: str) -> int | None:
        return files.number(self.folder, name)

    def fields(self, name: str) -> dict[str, int]:
        return files.fields(self.folder, name)


class _Mount(NamedTuple):
    version: int
    top: str  # the group that is mounted
    point: str
    controllers: frozenset[str]


def groups(controller: str, root: str = "/") -> tuple[Group, ...]:
    """The groups that bear on a controller ("memory", "cpu", "pids"), the process's own first."""
    paths = _paths(root)
    # Both versions may be mounted; a controller belongs to one of them, and version 1 names it.
    for mount in sorted(_mounts(root), key=lambda mount: mount.version):
        key = "" if mount.version == 2 else controller
        if key in paths and (not key or key in mount.controllers):
            return tuple(_upwards(mount, paths[key], root))
    return ()


def _upwards(mount: _Mount, path: str, root: str) -> Iterator[Group]:
    parts = list(_below(mount.top, path))
    point = os.path.join(root, mount.point.lstrip("/"))
    while True:
        folder = os.path.join(point, *parts)
        if os.path.isdir(folder):
            yield Group(folder, mount.version)
        if not parts:
            return
        parts.pop()


def _below(top: str, path: str) -> tuple[str, ...]:
    """The way from the mounted group to the process's; none where it lies outside of it."""
    try:
        parts = PurePosixPath(path).relative_to(top).parts
    except ValueError:
        return ()
    # A process that was moved out of its namespace sees itself at "/../..".
    return () if ".." in parts else tuple(part for part in parts if part != "/")


def _paths(root: str) -> dict[str, str]:
    """Controller to path; version 2's is ""."""
    found: dict[str, str] = {}
    for line in (files.read(root, "proc/self/cgroup") or "").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        found.update((controller, path) for controller in controllers.split(","))
    return found


def _mounts(root: str) -> Iterator[_Mount]:
    for line in (files.read(root, "proc/self/mountinfo") or "").splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = [*after.split(" "), "", "", ""][:3]
        fields = before.split(" ")
        if kind in ("cgroup", "cgroup2") and len(fields) >= 5:
            top, point = (_unescaped(field) for field in fields[3:5])
            yield _Mount(2 if kind == "cgroup2" else 1, top, point, frozenset(options.split(",")))


def _unescaped(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)
