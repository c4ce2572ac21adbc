"""Signals as events of a selector loop."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any, Final

HANDLED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
HAD_TERMINAL: Final = sys.stderr.isatty()


class Signals:
    """Has ``handler`` called on the loop's thread for each signal that arrives."""

    def __init__(self, selector: selectors.BaseSelector, handler: Callable[[int], None]) -> None:
        self._selector = selector
        self._handler = handler
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        selector.register(self._reader, selectors.EVENT_READ, self._arrived)
        self._old_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._old: dict[int, Any] = {number: signal.signal(number, lambda *_: None) for number in HANDLED}

    def _arrived(self) -> None:
        for number in self._reader.recv(64):
            if number in self._old:
                self._handler(number)

    def close(self) -> None:
        """Handle them as before."""
        signal.set_wakeup_fd(self._old_fd)
        for number, old in self._old.items():
            signal.signal(number, old)
        self._selector.unregister(self._reader)
        self._reader.close()
        self._writer.close()


def terminal_is_gone() -> bool:
    """Whether SIGHUP means what it says: the terminal that this ran in was closed."""
    if not HAD_TERMINAL:
        return False
    try:
        os.close(os.open("/dev/tty", os.O_RDWR))
    except OSError:
        return True
    return False
