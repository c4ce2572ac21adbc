"""What a service manager is told, as sd_notify(3) has it: one datagram of lines to $NOTIFY_SOCKET.

READY=1                            every model is ready or has failed
STATUS=2 of 3 models are ready     for people
RELOADING=1, MONOTONIC_USEC=…      the configuration is read again; READY=1 follows
STOPPING=1                         the hosts are being ended
WATCHDOG=1                         the supervisor's loop goes round; where $WATCHDOG_USEC asks for it
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import MutableMapping
from typing import Final

NEVER: Final = float("inf")
AGAIN: Final = 0.2  # seconds until what did not go out is said again
_SHARE: Final = 2  # signs of life in each of the manager's spans
# The manager reads slowly, or nothing is left to tell it by: that passes.
_PASSING: Final = (errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
_VARIABLES: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Notifier:
    """Tells the manager; without one, nobody. Never waits, never raises."""

    def __init__(self, address: str | None, watchdog: float | None = None) -> None:
        """``watchdog``: seconds within which the manager wants a sign of life."""
        self._address = f"\0{address[1:]}" if address is not None and address.startswith("@") else address
        self._pause = watchdog / _SHARE if watchdog and address else NEVER
        self.due = 0.0 if self._pause < NEVER else NEVER

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str] = os.environ) -> Notifier:
        """What is asked for; it is taken out of the environment, which the hosts inherit."""
        address, span, pid = (environ.pop(name, "") for name in _VARIABLES)
        ours = not pid or pid == str(os.getpid())
        return cls(address or None, int(span) / 1e6 if ours and span.isdecimal() else None)

    def tell(self, *lines: str) -> bool:
        """Send these lines; False where they did not go out now, and may a little later."""
        if self._address is None:
            return True
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.sendto("\n".join(lines).encode(), self._address)
        except OSError as exc:
            return exc.errno not in _PASSING  # a manager that does not listen is no reason not to serve
        return True

    def expire(self, now: float) -> None:
        """Give a sign of life when it is time to."""
        if now >= self.due:
            self.due = now + (self._pause if self.tell("WATCHDOG=1") else min(AGAIN, self._pause))


def reloading() -> tuple[str, str]:
    """The lines that say so."""
    return "RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}"
