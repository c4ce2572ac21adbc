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
    from .child import Child
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
        self._asked: set[Child] = set()  # who owes an answer, be the round that it is for over or not
        self.due = NEVER

    def begin(self) -> None:
        supervisor = self._supervisor
        if self._under_way or supervisor.stopping or supervisor.hosts.first.child is None:
            return
        self._asked &= {keeper.child for keeper in supervisor.hosts if keeper.child is not None}
        if self._asked:
            return  # answers bear no number: a late one would count for this round
        if not supervisor.place.is_lent(supervisor.place.host):
            with contextlib.suppress(FileNotFoundError):  # somebody removed it: no more can come as it is
                os.rename(supervisor.place.host, self._aside)
        self._under_way = True
        self.due = time.monotonic() + PAUSE

    def expire(self, now: float) -> None:
        if self._under_way and self._supervisor.stopping:
            self._decide(False)
        if now < self.due:
            return
        if not self._asked and self._ask():
            self.due = now + PATIENCE
        else:
            self._decide(True)  # a host is missing, or its word is: the next time will show

    def _ask(self) -> bool:
        """Whether all could be asked."""
        for keeper in self._supervisor.hosts:
            if keeper.on_demand:
                continue
            if keeper.child is None or not keeper.tell(messages.ASK_BUSY):
                return False
            self._asked.add(keeper.child)
        return True

    def decide(self, keeper: Keeper, busy: bool) -> None:
        """A host has counted its sessions."""
        if keeper.child not in self._asked:
            return
        self._asked.remove(keeper.child)
        if self._under_way and (busy or not self._asked):
            self._decide(busy)

    def _decide(self, busy: bool) -> None:
        self._under_way = False
        self.due = NEVER
        stopping = self._supervisor.stopping  # for another reason, meanwhile: the name does not come back
        if busy and not stopping:
            with contextlib.suppress(FileNotFoundError):  # a service manager's was left where it is
                os.rename(self._aside, self._supervisor.place.host)
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._aside)
        if not stopping:
            self._supervisor.stop(f"no sessions for {self._supervisor.settings.idle_exit:g} s")
