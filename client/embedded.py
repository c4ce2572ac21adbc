"""The embedded host: started by the first `connect` that finds none, ended when nobody uses it.

However many processes start at once, one of them starts it (a file lock, which dies with its holder)
and the others wait for it. It is keyed by virtual environment and versions, so that two projects
never share the wrong one, and lives in a session of its own: Ctrl-C in the program does not end it.
"""

from __future__ import annotations

import fcntl
import os
import select
import sys
import time
import zlib
from typing import Final

from sharedmodel import __version__, link, runtime, wire
from sharedmodel.errors import HostUnavailable

from .find import SOCKET

IDLE_VARIABLE: Final = "SHAREDMODEL_IDLE_EXIT"  # seconds without a session after which it ends
START_TIMEOUT: Final = 60.0
_LOG: Final = "embedded.log"
_LOOK: Final = 0.01


def directory() -> str:
    """The runtime directory of this environment's embedded host."""
    key = f"{os.path.realpath(sys.prefix)} {sys.version} {__version__} {wire.VERSION}"
    return os.path.join(runtime.runtime_dir(), f"e-{zlib.crc32(key.encode()):08x}")


def ensure(timeout: float | None = None) -> str:
    """The address of the embedded host, which is started if need be.

    Raises HostUnavailable, with the end of its log, when it does not start within ``timeout`` seconds.
    """
    place = directory()
    os.makedirs(place, mode=0o700, exist_ok=True)
    address = os.path.join(place, SOCKET)
    if link.answers(address):
        return address
    end = time.monotonic() + (START_TIMEOUT if timeout is None else timeout)
    with open(os.path.join(place, "start.lock"), "w") as lock:
        _lock(lock.fileno(), end)
        try:
            if not link.answers(address):
                _start(place, address, end)
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)  # a child forked meanwhile holds the file open
    return address


def _lock(fd: int, end: float) -> None:
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > end:
                raise HostUnavailable("another process is starting the embedded host and does not get done") from None
            time.sleep(_LOOK)


def _start(place: str, address: str, end: float) -> None:
    import subprocess

    log = os.path.join(place, _LOG)
    alive, theirs = os.pipe()
    command = [sys.executable, "-m", "sharedmodel.server.cli", "serve", "--embedded", "--runtime-dir", place]
    if idle := os.environ.get(IDLE_VARIABLE):
        command += ["--idle-exit", idle]
    try:
        with open(log, "wb") as out:
            # The shell leaves at once, so that what it started is nobody's child and no zombie of ours.
            subprocess.run(
                ["/bin/sh", "-c", '"$@" &', "sh", *command],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/", start_new_session=True,
                pass_fds=(theirs,), check=True, env=_environment(),
            )  # fmt: skip
        os.close(theirs)
        theirs = -1
        _await(address, alive, end, log)
    finally:
        os.close(alive)
        if theirs >= 0:
            os.close(theirs)


def _await(address: str, alive: int, end: float, log: str) -> None:
    """Until the host answers, or its process is gone (the pipe's other end closes), or time is up."""
    poller = select.poll()
    poller.register(alive, select.POLLIN)
    while not link.answers(address):
        if poller.poll(int(_LOOK * 1000)):
            raise HostUnavailable(f"the embedded host did not start; its log, {log}, ends:\n{_tail(log)}")
        if time.monotonic() > end:
            raise HostUnavailable(f"the embedded host did not answer in time; its log, {log}, ends:\n{_tail(log)}")


def _environment() -> dict[str, str]:
    """The caller's environment, where Python finds the same packages from another folder."""
    paths = [os.path.abspath(path) for path in sys.path if path and os.path.isdir(path)]
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("GUNICORN_", "LISTEN_", "NOTIFY_"))}
    return {**kept, "PYTHONPATH": os.pathsep.join(paths)}


def _tail(log: str) -> str:
    try:
        with open(log, errors="replace") as text:
            return text.read()[-2000:].strip() or "(it is empty)"
    except OSError as exc:
        return f"({exc})"
