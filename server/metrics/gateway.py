"""The supervisor's part in serving metrics: the listening socket, and a process that answers on it (see `web`).

The process is started where the configuration asks for it, started again when it dies, and ends with the
supervisor. Readers that come meanwhile wait in the backlog.
"""

from __future__ import annotations

import logging
import os
import selectors
import socket
import subprocess
import sys
import time
from typing import Any, Final

from sharedmodel.errors import BadArgument
from sharedmodel.process import watched

from ..obstacle import Obstacle
from ..place import Place
from .address import UNIX, Address, parse

FIRST_DELAY: Final = 0.1
MOST_DELAY: Final = 30.0
STEADY: Final = 30.0  # seconds; one that lived this long is started again at once
NEVER: Final = float("inf")
BACKLOG: Final = 64

logger = logging.getLogger("sharedmodel.supervisor")


class Gateway:
    """Nothing at all until `apply` is given an address."""

    def __init__(self, place: Place, selector: selectors.BaseSelector, group: int | None = None) -> None:
        """``group``: may read the socket as well, where it is one."""
        self._place = place
        self._selector = selector
        self._group = group
        self._address: Address | None = None
        self._listener: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self._began = 0.0
        self._delay = 0.0
        self.due = NEVER

    def apply(self, text: str | None) -> None:
        """Serve there from now on, and nowhere else. Raises BadArgument or Obstacle; nothing has changed then."""
        address = _numeric(text)
        if address == self._address:  # in other words, it may be: this listener would be in its own way
            return
        listener = None if address is None else self._listen(address)
        self.close()
        self._address, self._listener = address, listener
        if listener is not None:
            self._spawn()

    def _listen(self, address: Address) -> socket.socket:
        try:
            if address.host == UNIX:
                return self._place.listen(self._place.metrics, self._group)
            family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
            return socket.create_server((address.host, address.port), family=family, backlog=BACKLOG)
        except OSError as exc:
            raise Obstacle(f"server.metrics: {address} can't be listened at: {exc.strerror}") from exc

    def _spawn(self) -> None:
        assert self._listener is not None
        self.due = NEVER
        self._began = time.monotonic()
        fd = str(self._listener.fileno())
        # Its own process group: Ctrl-C is for the supervisor, with which it ends.
        words = ["-m", "sharedmodel.server.metrics.web", self._place.directory, fd, str(os.getpid())]
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", *words],
                stdin=subprocess.DEVNULL,
                pass_fds=[self._listener.fileno()],
                process_group=0,
            )
            self._pidfd = watched(process)
        except OSError as exc:  # no descriptors or processes left
            self._again(f"could not be started: {exc.strerror}")
        else:
            self._process = process
            self._selector.register(self._pidfd, selectors.EVENT_READ, self._died)

    def _died(self) -> None:
        assert self._process is not None
        code = self._process.wait()
        self._let_go()
        self._again(f"ended with exit code {code}")

    def _again(self, why: str) -> None:
        now = time.monotonic()
        self._delay = 0.0 if now - self._began >= STEADY else min(MOST_DELAY, max(FIRST_DELAY, 2 * self._delay))
        self.due = now + self._delay
        logger.error("the process that serves metrics %s; started again in %.1f s", why, self._delay)

    def _let_go(self) -> None:
        self._selector.unregister(self._pidfd)
        os.close(self._pidfd)
        self._process, self._pidfd = None, -1

    def expire(self, now: float) -> None:
        """Start it again, when it is time to."""
        if now >= self.due:
            self._spawn()

    def told(self) -> dict[str, Any] | None:
        """Where, and by which process; None where metrics are not served."""
        if self._listener is None:
            return None
        name = self._listener.getsockname()
        where = name if isinstance(name, str) else str(Address(*name[:2]))
        return {"address": where, "pid": None if self._process is None else self._process.pid}

    def close(self) -> None:
        """End the process and listen no more. Idempotent."""
        self.due = NEVER
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._let_go()
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if self._address is not None and self._address.host == UNIX:
            self._place.unlink(self._place.metrics)
        self._address = None


def _numeric(text: str | None) -> Address | None:
    try:
        return None if text is None else parse(text)
    except ValueError as exc:
        raise BadArgument(f"server.metrics: {exc}, not {text!r}") from exc
