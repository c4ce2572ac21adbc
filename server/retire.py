"""An idle server ends itself, without slamming the door on a client that comes at that very moment.

host says: idle ─► the socket's name is taken away: no more can come
                ─► (a pause, for those accepted just now to be counted) host, is anybody there?
                     nobody   ─► stop
                     somebody ─► the name is put back
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Final

from . import messages

if TYPE_CHECKING:
    from .supervisor import Supervisor

PAUSE: Final = 0.05
PATIENCE: Final = 2.0
NEVER: Final = float("inf")


class Retirement:
    """The protocol above."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._aside = supervisor.place.host + "~"
        self._under_way = False
        self._asked = False
        self.due = NEVER

    def begin(self) -> None:
        supervisor = self._supervisor
        if self._under_way or supervisor.stopping or supervisor.child is None:
            return
        os.rename(supervisor.place.host, self._aside)
        self._under_way, self._asked = True, False
        self.due = time.monotonic() + PAUSE

    def expire(self, now: float) -> None:
        if now < self.due:
            return
        child = self._supervisor.child
        if not self._asked and child is not None and child.lifeline.send(messages.ASK_BUSY):
            self._asked = True
            self.due = now + PATIENCE
        else:
            self.decide(True)  # no host, or no word from it: the next one will see

    def decide(self, busy: bool) -> None:
        """The host has counted its sessions."""
        if not self._under_way:
            return
        self._under_way = False
        self.due = NEVER
        if busy:
            os.rename(self._aside, self._supervisor.place.host)
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._aside)
        self._supervisor.stop(f"no sessions for {self._supervisor.settings.idle_exit:g} s")
