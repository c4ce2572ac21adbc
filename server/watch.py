"""Every call that a model of this host executes: noted for the time after a death, and timed."""

from __future__ import annotations

import threading

from sharedmodel.call import Call

from .journal import Journal


class Watch:
    """See `sharedmodel.objects.Watch`."""

    def __init__(self, journal: Journal, alone: bool) -> None:
        """``alone``: let one call in at a time."""
        self._journal = journal
        self._turn = threading.Lock() if alone else None

    def entered(self, call: Call) -> int:
        if self._turn is not None:
            self._turn.acquire()
        return self._journal.enter(call.peer.number, call.rid)

    def left(self, token: int) -> None:
        self._journal.leave(token)
        if self._turn is not None:
            self._turn.release()
