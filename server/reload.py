"""The configuration file read again, by a process of its own: what checks it stays out of the supervisor's.

Nor does it hold that one up: a file may lie where reading it takes long.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from typing import Final

from sharedmodel.errors import BadArgument
from sharedmodel.process import watched

from .settings import Settings

TIMEOUT: Final = 30.0
NEVER: Final = float("inf")

Found = Settings | BadArgument


class Reading:
    """One at a time; what comes of it goes to ``taken``. Where it is asked for meanwhile it begins anew at its end."""

    def __init__(self, selector: selectors.BaseSelector, taken: Callable[[Found], None]) -> None:
        self._selector = selector
        self._taken = taken
        self._settings = Settings()
        self._process: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self._said: tuple[int, ...] = ()  # files of its output, and of its errors
        self._anew = False
        self.due = NEVER

    def begin(self, settings: Settings) -> None:
        """Read the file of these settings."""
        self._settings, self._anew = settings, self._process is not None
        if settings.config_file is None:
            self._taken(settings)
        elif self._process is None:
            try:
                self._spawn(settings.config_file)
            except OSError as exc:
                self._taken(BadArgument(f"{settings.config_file} could not be read: {exc.strerror}"))

    def _spawn(self, file: str) -> None:
        command = [sys.executable, "-P", "-m", "sharedmodel.server.config", file]
        said: list[int] = []
        try:
            said += [os.memfd_create("sharedmodel-config") for _ in range(2)]
            # Its own process group: Ctrl-C is for the supervisor.
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=said[0], stderr=said[1], process_group=0
            )
            self._pidfd = watched(process)
        except OSError:
            _close(said)
            raise
        self._process, self._said = process, tuple(said)
        self.due = time.monotonic() + TIMEOUT
        self._selector.register(self._pidfd, selectors.EVENT_READ, self._ended)

    def _ended(self) -> None:
        late = self.due == NEVER
        done = self._end()
        if self._anew:
            self.begin(self._settings)
        elif late:
            self._taken(BadArgument(f"{self._settings.config_file} could not be read within {TIMEOUT:g} s"))
        else:
            self._taken(found(*done))

    def _end(self) -> tuple[int, str, str]:
        """Let go of the process, which is over; its exit code, and what it said."""
        assert self._process is not None
        code = self._process.wait()
        out, err = (os.pread(fd, os.fstat(fd).st_size, 0).decode("utf-8", "replace") for fd in self._said)
        self._selector.unregister(self._pidfd)
        _close([self._pidfd, *self._said])
        self._process, self.due = None, NEVER
        return code, out, err

    def expire(self, now: float) -> None:
        if now >= self.due and self._process is not None:
            self.due = NEVER
            self._process.kill()

    def close(self) -> None:
        """Read no more."""
        if self._process is not None:
            self._process.kill()
            self._end()


def _close(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)


def found(code: int, out: str, err: str) -> Found:
    """The settings as that process has found them in the file, or what is wrong with it."""
    if code != 0:
        return BadArgument(err.strip() or f"exit code {code}")
    try:
        return Settings.from_json(out)
    except (ValueError, TypeError, KeyError) as exc:  # of a package that was replaced while this one serves
        return BadArgument(f"another version than the one that serves has read it: restart the server ({exc})")
