"""`sharedmodel top`: looks at a server again and again, and shows it on a screen of its own."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import time
import tty
from collections import deque
from collections.abc import Iterator
from typing import Any, Final

from rich.console import RenderableType
from rich.live import Live

from sharedmodel.errors import BadArgument, SharedModelError

from .cli_console import console
from .cli_frame import absent, frame
from .cli_numbers import command_of
from .control import ask
from .place import Place

LOOKS: Final = 5  # statuses that rates and latencies are taken over
_ASK_TIMEOUT: Final = 5.0
_QUIT: Final = (b"q", b"Q", b"\x03", b"\x04")


class Looks:
    """The last statuses of one server, whose supervisor may go and come again."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._seen: deque[dict[str, Any]] = deque(maxlen=LOOKS)

    def look(self) -> None:
        """Ask for one more. Raises OSError or SharedModelError where nobody answers."""
        status = ask(self._place.control, "status", timeout=_ASK_TIMEOUT)
        if self._seen and self._seen[-1]["supervisor"]["pid"] != status["supervisor"]["pid"]:
            self._seen.clear()
        self._seen.append(status)

    def screen(self, height: int | None = None) -> RenderableType:
        """What is to be seen now, in so many lines."""
        try:
            self.look()
        except (OSError, SharedModelError) as exc:
            self._seen.clear()
            return absent(self._place.directory, getattr(exc, "strerror", None) or str(exc))
        return frame(self._seen[0], self._seen[-1], command_of, time.time(), height)


def watch(place: Place, interval: float, *, once: bool) -> None:
    """Show the server until q or Ctrl-C. With ``once``: print one screen; raises where there is no server.

    Raises BadArgument where there is no terminal to show it on.
    """
    looks = Looks(place)
    if once:
        looks.look()
        time.sleep(interval)  # rates are those between two looks
        console().print(looks.screen())
        return
    if not sys.stdout.isatty():
        raise BadArgument("a live screen needs a terminal; `sharedmodel top --once` prints one")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the terminal is put right before the end
    shown = console()
    live = Live(looks.screen(shown.height), console=shown, screen=True, auto_refresh=False)
    with contextlib.suppress(KeyboardInterrupt), _keys() as keys:
        try:
            live.start(refresh=True)  # no `with live`: an interruption in here would leave the other screen on
            while not _quits(keys, interval):
                live.update(looks.screen(shown.height), refresh=True)
        finally:
            live.stop()


@contextlib.contextmanager
def _keys() -> Iterator[int | None]:
    """The terminal's descriptor, from which keys come one by one and unseen; None where it is no terminal."""
    fd = sys.stdin.fileno() if sys.stdin is not None and sys.stdin.isatty() else None
    if fd is None:
        yield None
        return
    before = termios.tcgetattr(fd)
    try:
        tty.setcbreak(fd)
        yield fd
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def _quits(keys: int | None, interval: float) -> bool:
    """Wait for a key or the interval's end; whether the key means to leave."""
    if keys is None:
        time.sleep(interval)
        return False
    ready, _, _ = select.select([keys], [], [], interval)
    if not ready:
        return False
    key = os.read(keys, 1)
    return not key or key in _QUIT  # none at all: the terminal is gone
