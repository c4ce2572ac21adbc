"""An idle server ends itself, without slamming the door on a client that comes at that very moment.

host says: idle ─► the socket's name is taken away: no more can come
                ─► (a pause, for those accepted just now to be counted) host, is anybody there?
                     nobody   ─► stop
                     somebody ─► the name is put back

A name that a service manager holds stays: who comes then is its next server's.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Final

from . import messages
from .keeper import Keeper

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
        self._asked: set[str] = set()
        self.due = NEVER

    def begin(self) -> None:
        supervisor = self._supervisor
        if self._under_way or supervisor.stopping or supervisor.hosts.first.child is None:
            return
        if not supervisor.place.is_lent(supervisor.place.host):
            os.rename(supervisor.place.host, self._aside)
        self._under_way, self._asked = True, set()
        self.due = time.monotonic() + PAUSE

    def expire(self, now: float) -> None:
        if now < self.due:
            return
        hosts = [keeper for keeper in self._supervisor.hosts if not keeper.on_demand]
        if not self._asked and all(keeper.tell(messages.ASK_BUSY) for keeper in hosts):
            self._asked = {keeper.name for keeper in hosts}
            self.due = now + PATIENCE
        else:
            self._decide(True)  # a host is missing, or its word is: the next time will show

    def decide(self, keeper: Keeper, busy: bool) -> None:
        """A host has counted its sessions."""
        self._asked.discard(keeper.name)
        if self._under_way and (busy or not self._asked):
            self._decide(busy)

    def _decide(self, busy: bool) -> None:
        self._under_way = False
        self.due = NEVER
        if busy:
            with contextlib.suppress(FileNotFoundError):  # a service manager's was left where it is
                os.rename(self._aside, self._supervisor.place.host)
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._aside)
        self._supervisor.stop(f"no sessions for {self._supervisor.settings.idle_exit:g} s")
