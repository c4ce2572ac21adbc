"""A thread that takes the loop over when something comes for it, only while the loop's own thread is at something else.

It sleeps on an epoll that holds the loop's, and is told of nothing unless it is called: with one caller at a
time, no thread is ever woken but the one that serves it.
"""

from __future__ import annotations

import contextlib
import os
import select
from typing import Final

from . import link

_ONCE: Final = select.EPOLLIN | select.EPOLLONESHOT


class Standby:
    """The place where such a thread sleeps. Thread-safe."""

    def __init__(self, fd: int) -> None:
        """``fd``: the loop's epoll."""
        self._fd = fd
        self._epoll = select.epoll()
        self._epoll.register(fd, 0)
        self._end = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(self._end, select.EPOLLIN)

    def call(self) -> None:
        """Have it woken once, as soon as there is something for the loop; at once, if there is already."""
        self._set(_ONCE)

    def dismiss(self) -> None:
        """The loop's own thread is back."""
        self._set(0)

    def wait(self, seconds: float) -> None:
        """Until it is called and there is something to do, or the time is up, or all of it ends."""
        with contextlib.suppress(OSError, ValueError):  # closed meanwhile
            self._epoll.poll(seconds)

    def end(self) -> None:
        """Wake it for good. Safe in a signal handler."""
        with contextlib.suppress(OSError):
            os.eventfd_write(self._end, 1)

    def close(self) -> None:
        """Idempotent; also in a process that the model forked."""
        self._epoll.close()
        if self._end >= 0:
            link.close_all([self._end])
            self._end = -1

    def _set(self, mask: int) -> None:
        with contextlib.suppress(OSError, ValueError):  # closed meanwhile
            self._epoll.modify(self._fd, mask)
