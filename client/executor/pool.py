"""All of an executor but its public face: groups of workers, the gate before them, and their end.

Attendants refer to this and never to the executor, so that one that nobody holds any more can be collected.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
import weakref
from functools import partial
from typing import Any, Final

from sharedmodel.errors import BadArgument
from sharedmodel.timers import Timers

from .attendant import Manner
from .gate import Gate
from .group import Group
from .task import Task

SHARED: Final = "tasks"  # the group of all that has none of its own


class Pool:
    """The groups of one executor. Thread-safe."""

    def __init__(self, size: int, manner: Manner, gate: Gate) -> None:
        self._pid = os.getpid()
        self._manner = manner
        self._timers = Timers()
        self._gate = gate
        self._groups = {SHARED: Group(SHARED, size, manner, self._timers, gate)}
        self._lock = threading.Lock()
        self._closed = False
        self._at_exit = partial(_at_exit, weakref.ref(self))
        atexit.register(self._at_exit)
        weakref.finalize(self, _forgotten, self._timers, self._at_exit).atexit = False

    def add_group(self, name: str, size: int) -> None:
        """Workers of their own for a kind of task. Raises BadArgument for one that has some."""
        with self._lock:
            if name in self._groups:
                raise BadArgument(f"task type {name!r} is registered already, with workers of its own")
            self._groups[name] = Group(name, size, self._manner, self._timers, self._gate)

    def put(self, task: Task, group: str) -> None:
        """Have a task done. Raises RuntimeError after `close` and in a forked child, Overloaded at a full gate."""
        if os.getpid() != self._pid:
            raise RuntimeError(f"this TaskExecutor is of process {self._pid}: make one here, after the fork")
        self._gate.enter()
        task.future.add_done_callback(lambda _: self._gate.leave())
        try:
            if task.terms.timeout is not None:
                timer = self._timers.after(task.terms.timeout, partial(self._gate.freely, task.expire))
                task.future.add_done_callback(lambda _: self._timers.drop(timer))
            with self._lock:  # so that nothing comes after the end of the queue
                if self._closed:
                    raise RuntimeError("cannot schedule new futures after shutdown")
                self._groups[group].put(task)
        except BaseException:
            task.future.cancel()
            raise

    # -- the end -----------------------------------------------------------------------------------------

    def let_go(self) -> None:
        """Nobody will submit any more: what is there is done, then all ends. For finalizers: takes no lock."""
        if os.getpid() == self._pid:
            for group in list(self._groups.values()):
                group.let_go()

    def close(self, *, wait: bool, cancel_waiting: bool) -> None:
        """Take nothing more in. A Ctrl-C while it waits ends everything at once. Idempotent."""
        if os.getpid() != self._pid:
            return
        with self._lock:
            self._closed = True
            self._gate.close()
        for group in self._groups.values():
            if cancel_waiting:
                group.cancel_waiting()
            group.let_go()
        if wait:
            try:
                self._join()
            except BaseException:
                self.stop()
                raise

    def stop(self) -> None:
        """Cancel everything, what runs included, and end the workers now. Idempotent."""
        if os.getpid() != self._pid:
            return
        self.close(wait=False, cancel_waiting=True)
        for group in self._groups.values():
            group.stop()
        self._join()

    def _join(self) -> None:
        for group in self._groups.values():
            group.join()
        self._timers.close()
        atexit.unregister(self._at_exit)


def _at_exit(ref: weakref.ref[Pool]) -> None:
    """The program ends: as the standard library does, wait for what was submitted, but not after a Ctrl-C."""
    if (pool := ref()) is None:
        return
    with contextlib.suppress(KeyboardInterrupt):
        pool.close(wait=getattr(sys, "last_type", None) is not KeyboardInterrupt, cancel_waiting=False)
    pool.stop()


def _forgotten(timers: Timers, at_exit: Any) -> None:
    atexit.unregister(at_exit)
    timers.let_go()


def checked(name: str, value: Any, least: int = 1) -> Any:
    """A number of an option, or None. Raises ValueError."""
    if value is not None and value < least:
        raise ValueError(f"{name} must be at least {least}, not {value!r}")
    return value
