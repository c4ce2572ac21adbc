"""The examination of a machine: each check looks at one thing and says what to do about it.

ok     fine
warn   works, but not as well as it could, or not for everything
fail   the server can't work like this
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
import stat
import sys
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from sharedmodel import link, runtime, segment
from sharedmodel.errors import SharedModelError

from . import oom
from .cli_console import size
from .janitor import segments, stale_sockets
from .place import Place

OK: Final = "ok"
WARN: Final = "warn"
FAIL: Final = "fail"
SHM: Final = segment.DIRECTORY
_NEEDED: Final = ("numpy", "msgpack", "posix_ipc")
_FOR_SERVING: Final = ("typer", "rich", "pydantic")
_FOR_MODELS: Final = ("onnxruntime", "cnocr", "cnstd", "rapidocr", "torch")


class Finding(NamedTuple):
    """One line of the report; ``advice`` says what to do."""

    what: str
    verdict: str
    text: str
    advice: str = ""


def examine(places: Callable[[], list[Place]]) -> list[Finding]:
    """All checks. ``places`` finds the runtime directories, the first of them the user's own."""
    found: list[Finding] = []
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _python,
        _packages,
        _shared_memory,
        _memfd,
        _limits,
        _memory_limit,
        lambda: _runtime_directory(places),
        _leftovers,
    )
    for check in checks:
        try:
            found.extend(check())
        except Exception as exc:
            found.append(Finding("doctor", WARN, f"a check could not be made: {type(exc).__name__}: {exc}"))
    return found


def _python() -> Iterator[Finding]:
    text = f"{platform.python_version()} ({sys.executable}), Linux {platform.release()}"
    if sys.platform != "linux":
        yield Finding("python", FAIL, f"{platform.system()}: the server needs Linux", "use Linux, WSL 2 or a container")
    else:
        yield Finding("python", OK, text)


def _packages() -> Iterator[Finding]:
    for names, verdict, advice in (
        (_NEEDED, FAIL, "pip install sharedmodel"),
        (_FOR_SERVING, FAIL, "pip install 'sharedmodel[server]'"),
        (_FOR_MODELS, OK, ""),
    ):
        for name in names:
            try:
                yield Finding(name, OK, importlib.metadata.version(name))
            except importlib.metadata.PackageNotFoundError:
                text = "not installed" if advice else "not installed (needed only for models that use it)"
                yield Finding(name, verdict, text, advice)


def _shared_memory() -> Iterator[Finding]:
    if not os.path.isdir(SHM):
        yield Finding(SHM, WARN, "is missing: anonymous memory is used in its place", f"mount a tmpfs on {SHM}")
        return
    kind = _filesystem(SHM)
    space = os.statvfs(SHM)
    whole, free = space.f_blocks * space.f_frsize, space.f_bavail * space.f_frsize
    text = f"{kind}, {size(free)} free of {size(whole)}"
    if kind != "tmpfs":
        yield Finding(SHM, WARN, f"{text}: not in memory, so slow", f"mount a tmpfs on {SHM}")
    elif not os.access(SHM, os.W_OK | os.X_OK):
        yield Finding(SHM, WARN, f"{text}: you may not write there; anonymous memory is used", f"chmod 1777 {SHM}")
    elif free < 256 << 20:
        yield Finding(
            SHM,
            WARN,
            f"{text}: larger tensors go through anonymous memory",
            "give it more: docker run --shm-size=2g, or `gc` if it is full of leftovers",
        )
    else:
        yield Finding(SHM, OK, text)


def _filesystem(path: str) -> str:
    kind = "unknown"
    with open("/proc/mounts") as mounts:
        for line in mounts:
            _, where, found, *_ = line.split()
            if where == path:
                kind = found
    return kind


def _memfd() -> Iterator[Finding]:
    try:
        segment.create(segment.PAGE, "memfd").close()
    except OSError as exc:
        yield Finding(
            "sealed memory", FAIL, f"memfd_create with seals: {exc.strerror}", "allow memfd_create (seccomp profile)"
        )
    else:
        yield Finding("sealed memory", OK, "memfd with seals works")


def _limits() -> Iterator[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = f"{_limit(soft)}, the host raises it to {_limit(hard)}"
    if hard != resource.RLIM_INFINITY and hard < 4096:
        yield Finding("open files", WARN, f"{text}: about {hard // 6} clients", "raise ulimit -Hn, or LimitNOFILE=")
    else:
        yield Finding("open files", OK, text)
    address_space, _ = resource.getrlimit(resource.RLIMIT_AS)
    if address_space == resource.RLIM_INFINITY:
        yield Finding("address space", OK, "unlimited")
    else:
        yield Finding(
            "address space",
            WARN,
            f"limited to {size(address_space)}: mapped tensors count",
            "ulimit -v unlimited; limit memory by a cgroup instead",
        )


def _limit(value: int) -> str:
    return "unlimited" if value == resource.RLIM_INFINITY else str(value)


def _memory_limit() -> Iterator[Finding]:
    limit = oom.memory_limit()
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if limit is None or limit >= whole:
        yield Finding("memory", OK, f"{size(whole)}, no cgroup limit below that")
    else:
        text = f"{size(limit)} by cgroup (the machine has {size(whole)})"
        advice = "shared tensors count against it; raise it if models are killed"
        yield Finding("memory", OK if limit >= 1 << 30 else WARN, text, "" if limit >= 1 << 30 else advice)


def _runtime_directory(find: Callable[[], list[Place]]) -> Iterator[Finding]:
    what = "runtime directory"
    try:
        places = find()
    except (SharedModelError, OSError) as exc:
        yield Finding(what, FAIL, str(exc), f"set {runtime.VARIABLE} to a short path of your own")
        return
    own = places[0]
    mode = stat.S_IMODE(os.stat(own.directory).st_mode)
    yield Finding(
        what, OK, f"{own.directory} (mode {mode:04o}; socket paths {len(own.control)} of {link.MAX_PATH} bytes)"
    )
    stale = [litter.path for place in places for litter in stale_sockets(place)]
    if stale:
        names = ", ".join(os.path.relpath(path, own.directory) for path in stale)
        yield Finding("sockets", WARN, f"nobody serves {names}", "sharedmodel gc")
    else:
        yield Finding("sockets", OK, "no stale ones")


def _leftovers() -> Iterator[Finding]:
    left = segments()
    if left:
        text = f"{len(left)} in {SHM}, {size(sum(litter.size for litter in left))}, of dead processes"
        yield Finding("leftovers", WARN, text, "sharedmodel gc")
    else:
        yield Finding("leftovers", OK, f"none in {SHM}")
