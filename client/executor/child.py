"""A worker process from the inside: a service for one session, that of the program that started it.

It is that program's own child, on a connection that nobody else can make: therefore, and only here, it imports
what the other side names. It ends with the thread that started it, however that ends.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from multiprocessing import process
from types import GeneratorType
from typing import Any, Final

from sharedmodel.entry import Entry, Limits
from sharedmodel.errors import CannotCross
from sharedmodel.objects import Objects, Served
from sharedmodel.service import Service

from .light import is_light, light_bytes, load_light
from .reference import resolve

TASKS: Final = "#tasks"
_PR_SET_PDEATHSIG: Final = 1


class Tasks(Served):
    """The object whose methods are all functions that can be imported, by their references."""

    __slots__ = ("_functions",)

    def __init__(self) -> None:
        super().__init__(TASKS, TASKS, None, ())
        self._functions: dict[str, Callable[..., Any]] = {}

    def method(self, name: str) -> Callable[..., Any]:
        """Raises ImportError or AttributeError, which is then the task's error."""
        found = self._functions.get(name)
        if found is None:
            found = self._functions[name] = _task(resolve(name), name)
            self.exposed |= {name}  # so that its pace is noted, and quick ones run without a change of threads
        return found


def _task(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        value = function(*args, **kwargs)
        if type(value) is GeneratorType:
            value.close()
            raise CannotCross(f"the result of {name} is a generator, which does not cross; return a list of its items")
        return value

    return run


class _Service(Service):
    """Models cross too."""

    proxy_bytes = staticmethod(light_bytes)

    def load_proxy(self, fields: list[Any]) -> Any:
        return load_light(fields) if is_light(fields) else super().load_proxy(fields)


def main(boot: dict[str, Any]) -> None:
    """Serve tasks until told to stop. ``boot`` is what `worker` has written."""
    _end_with(boot["parent"])
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _prepare(boot["main"], boot["authkey"])
    if boot["memory"] is not None:
        _bound(boot["memory"])
    objects = Objects()
    objects.put(Tasks(), TASKS)
    limits = Limits(sessions=1)
    listener = socket.socket(fileno=boot["listener"])
    _Service(listener, objects, entry=Entry(frozenset({os.geteuid()})), limits=limits).serve_forever()


def _prepare(main: dict[str, Any], authkey: str) -> None:
    """Make of this process what multiprocessing makes of its children, the program's own module included."""
    spawn = importlib.import_module("multiprocessing.spawn")
    current: Any = process.current_process()
    current.authkey = bytes.fromhex(authkey)
    current._inheriting = True  # or a program without a main guard would start executors without end
    try:
        spawn.prepare(main)
    finally:
        del current._inheriting


def _bound(more: int) -> None:
    """Allow the process so many bytes of private memory beyond what it has; shared memory does not count."""
    with open("/proc/self/status") as status:
        has = next(int(line.split()[1]) << 10 for line in status if line.startswith("VmData:"))
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = has + more
    resource.setrlimit(resource.RLIMIT_DATA, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _end_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the kernel knew of our wish
        sys.exit(0)
