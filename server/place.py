"""The runtime directory of one server: what lies in it, and who may go in.

host.sock        models: the host answers, the supervisor holds the listener
host.NAME.sock   the same of a host for one model; NAME#0, NAME#1 … where the model has several
loads            how busy each of those is (see `sharedmodel.board`)
control.sock     the supervisor itself
metrics.sock     metrics over HTTP, where the configuration wants them here
supervisor.lock  held for as long as the supervisor lives; its text is the holder's pid
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import time
from typing import Final

from sharedmodel import link, runtime
from sharedmodel.errors import BadArgument, SharedModelError

_LOOK_AGAIN: Final = 0.05
QUARANTINE: Final = "#quarantine"
ORPHAN_WAIT: Final = 5.0


class Held(SharedModelError):
    """Another supervisor serves this directory."""


class Place:
    """The names in a runtime directory."""

    def __init__(self, directory: str) -> None:
        """Raises BadArgument where the path is too long for a socket in it."""
        self.directory = os.path.abspath(directory)
        self.host = link.check_address(os.path.join(self.directory, "host.sock"))
        self.control = link.check_address(os.path.join(self.directory, "control.sock"))
        self.metrics = link.check_address(os.path.join(self.directory, "metrics.sock"))
        self.board = os.path.join(self.directory, "loads")
        self.lock = os.path.join(self.directory, "supervisor.lock")
        self.lent: dict[str, socket.socket] = {}  # listening sockets that a service manager holds (see `activation`)

    def socket_of(self, host: str) -> str:
        """Where a host listens (see `layout` for the names). Raises BadArgument for a path that is too long."""
        return link.check_address(os.path.join(self.directory, f"host.{host}.sock")) if host else self.host

    @property
    def quarantine(self) -> str:
        """Where calls run alone that may have ended a host."""
        return self.socket_of(QUARANTINE)

    def listen(self, path: str, group: int | None = None) -> socket.socket:
        """A listening socket at one of the paths: that of the service manager, or one of our own (see `listen`)."""
        lent = self.lent.get(os.path.realpath(path))
        return lent.dup() if lent is not None else listen(path, group)

    def is_lent(self, path: str) -> bool:
        """Whether the name is the service manager's, and stays."""
        return os.path.realpath(path) in self.lent

    def unlink(self, path: str) -> None:
        """Remove a name of our own, if it is there."""
        if self.is_lent(path):
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    @classmethod
    def find(cls, path: str | None = None) -> Place:
        """The directory asked for, else the user's; made if need be. Raises NotPermitted, BadArgument."""
        return cls(runtime.runtime_dir(path))

    @classmethod
    def seen(cls, path: str | None = None) -> Place:
        """The same for who only looks: where there is none, none is made. Raises NotPermitted, BadArgument."""
        directory = runtime.chosen(path)
        return cls.find(directory) if os.path.lexists(directory) else cls(directory)

    @property
    def is_there(self) -> bool:
        """Whether there is such a directory."""
        return os.path.isdir(self.directory)

    def admit(self, group: int) -> None:
        """Let a group reach the sockets (and nothing else) in the directory."""
        os.chown(self.directory, -1, group)
        os.chmod(self.directory, 0o710)


class Lock:
    """One supervisor a directory. The kernel lets go of it when its holder dies, however it dies."""

    def __init__(self, place: Place, wait: float = 0.0) -> None:
        """Raises Held, with the holder's pid, after ``wait`` seconds."""
        self._fd = os.open(place.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        end = time.monotonic() + wait
        while not self._try():
            if time.monotonic() >= end:
                holder = os.read(self._fd, 32).decode("ascii", "replace").strip() or "unknown"
                self.close()
                raise Held(
                    f"a supervisor (pid {holder}) already serves {place.directory}; "
                    "stop it with `sharedmodel stop`, or choose another --runtime-dir"
                )
            time.sleep(_LOOK_AGAIN)
        with contextlib.suppress(OSError):  # a full disk: the lock holds without its text
            os.ftruncate(self._fd, 0)
            os.write(self._fd, str(os.getpid()).encode())

    def _try(self) -> bool:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Let go. The file stays: removing it would let two supervisors hold two locks of one name."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def listen(path: str, group: int | None = None) -> socket.socket:
    """A listening socket in a directory whose lock is held. Raises BadArgument when somebody else listens, OSError."""
    # A supervisor killed a moment ago may have a host that is still being ended, and listens.
    end = time.monotonic() + ORPHAN_WAIT
    while True:
        try:
            return link.listen(path, group=group)
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE:
                raise OSError(exc.errno, exc.strerror, path) from exc
            if time.monotonic() > end:
                raise BadArgument(f"somebody else listens at {path}: {exc.strerror}") from exc
            time.sleep(_LOOK_AGAIN)
