"""The examination of a machine: what is installed, whether it works, and what was left behind.

`doctor_machine` looks at memory, processors and limits.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import stat
import sys
from collections.abc import Callable, Iterator
from typing import Final

from sharedmodel import link, runtime, segment
from sharedmodel.errors import SharedModelError

from . import doctor_machine
from .doctor_machine import SHM
from .finding import FAIL, OK, WARN, Finding
from .janitor import segments, stale_sockets
from .machine.amount import size
from .place import Place

_NEEDED: Final = ("numpy", "msgpack", "posix_ipc")
_FOR_SERVING: Final = ("typer", "rich", "pydantic")
_FOR_MODELS: Final = ("onnxruntime", "cnocr", "cnstd", "rapidocr", "torch")


def examine(places: Callable[[], list[Place]]) -> list[Finding]:
    """All checks. ``places`` finds the runtime directories, the first of them the user's own."""
    found: list[Finding] = []
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _python,
        _packages,
        doctor_machine.shared,
        _memfd,
        doctor_machine.ulimits,
        doctor_machine.processors,
        doctor_machine.memory_limit,
        doctor_machine.group_kill,
        doctor_machine.memory_pressure,
        doctor_machine.gpus,
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
                yield Finding(name, OK, _version(name))
            except importlib.metadata.PackageNotFoundError:
                text = "not installed" if advice else "not installed (needed only for models that use it)"
                yield Finding(name, verdict, text, advice)


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        if name not in _FOR_MODELS:
            raise
        # The build for GPUs is a package of its own, imported by the same name.
        return importlib.metadata.version(f"{name}-gpu") + ", for GPUs"


def _memfd() -> Iterator[Finding]:
    try:
        segment.create(segment.PAGE, "memfd").close()
    except OSError as exc:
        yield Finding(
            "sealed memory", FAIL, f"memfd_create with seals: {exc.strerror}", "allow memfd_create (seccomp profile)"
        )
    else:
        yield Finding("sealed memory", OK, "memfd with seals works")


def _runtime_directory(find: Callable[[], list[Place]]) -> Iterator[Finding]:
    what = "runtime directory"
    try:
        places = find()
    except (SharedModelError, OSError) as exc:
        yield Finding(what, FAIL, str(exc), f"set {runtime.VARIABLE} to a short path of your own")
        return
    own = places[0]
    if not own.is_there:
        if _can_be_made(own.directory):
            advice = "sharedmodel serve makes it; is it the one you mean?"
            yield Finding(what, WARN, f"{own.directory} is not there", advice)
        else:
            advice = f"set {runtime.VARIABLE} to a short path of your own"
            yield Finding(what, FAIL, f"{own.directory} is not there and can't be made", advice)
        return
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


def _can_be_made(directory: str) -> bool:
    while not os.path.lexists(directory):
        directory = os.path.dirname(directory)
    return os.path.isdir(directory) and os.access(directory, os.W_OK | os.X_OK)


def _leftovers() -> Iterator[Finding]:
    left = segments()
    if left:
        text = f"{len(left)} in {SHM}, {size(sum(litter.size for litter in left))}, of dead processes"
        yield Finding("leftovers", WARN, text, "sharedmodel gc")
    else:
        yield Finding("leftovers", OK, f"none in {SHM}")
