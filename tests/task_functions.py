"""What tests have workers do: well-behaved, slow, and deadly."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sharedmodel import reply
from sharedmodel.client import Host

_FOREVER = 600.0


class Odd(Exception):
    """An exception of the task's own."""


def pid() -> int:
    return os.getpid()


def add(a: Any, b: Any = 1) -> Any:
    return a + b


def echo(value: Any) -> Any:
    return value


def writable(array: np.ndarray) -> bool:  # type: ignore[type-arg]
    return bool(array.flags.writeable)


def lies_in_shared_memory(array: np.ndarray) -> bool:  # type: ignore[type-arg]
    base: Any = array
    while isinstance(base, np.ndarray) and base.base is not None:
        base = base.base
    return type(base).__name__ == "Mapping"


def fail(text: str) -> None:
    raise Odd(text)


def items() -> Iterator[int]:
    yield 1


def opaque() -> object:
    return object()


def modules(*names: str) -> list[str]:
    return [name for name in names if name in sys.modules]


def allocate(nbytes: int) -> int:
    return int(np.ones(nbytes, "u1").sum())


def call_model(model: Any, value: Any) -> Any:
    return model.echo(value)


def with_model(value: Any, *, echo: Any) -> list[Any]:
    return [echo.echo(value), echo.pid(), os.getpid()]


def die(how: str, mark: str = "") -> int:
    """End the worker. With a ``mark``, a path, only the first time; after that, the worker's pid."""
    if mark and os.path.exists(mark):
        return os.getpid()
    if mark:
        Path(mark).touch()
    if how == "exit":
        os._exit(7)
    if how == "segfault":
        ctypes.string_at(0)
    os.kill(os.getpid(), getattr(signal, how))
    threading.Event().wait(_FOREVER)  # another thread may be the one that the kernel picks
    return 0


def hang(path: str) -> None:
    """Say who we are, and never end."""
    _say(path)
    threading.Event().wait(_FOREVER)


def hang_in_c(path: str) -> None:
    """The same with the interpreter's lock held: no other thread of the worker runs any more."""
    _say(path)
    ctypes.PyDLL(None).sleep(int(_FOREVER))


def hang_once(path: str) -> int:
    if not os.path.exists(path):
        hang(path)
    return os.getpid()


def wait_until_cancelled(path: str) -> None:
    """A task that heeds its caller."""
    _say(path)
    gone = threading.Event()
    with reply.on_cancel(gone.set):
        gone.wait(_FOREVER)
    Path(f"{path}.heeded").touch()


def start_and_hang(path: str) -> None:
    """Start a process, name it, and never end."""
    child = subprocess.Popen(["sleep", str(_FOREVER)])
    _say(path, child.pid)
    child.wait()


def wait_for(path: str) -> int:
    """Until somebody writes into a named pipe."""
    with open(path, "rb"):
        return os.getpid()


def _say(path: str, pid: int | None = None) -> None:
    Path(f"{path}~").write_text(str(pid or os.getpid()))
    os.rename(f"{path}~", path)


def doubled(handle: Any) -> Any:
    """A handle for a handle: the caller's is opened, its own is put and let go of."""
    return Host(handle.address).put(handle.open() * 2, lease=30)
