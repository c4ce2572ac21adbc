"""Room for large arrays that is used no longer goes back to the machine.

A client has no thread of its own, and an idle one makes no calls in whose course it could give
memory back. So while a session has more than 64 MB of room, and only then, a thread looks every few
seconds whether it was used since, and ends when there is nothing left to look after.
"""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .session import Session

ROOM: Final = 64 << 20
EVERY: Final = 5.0


class Tidier:
    """Looks after one session as long as it has much room."""

    def __init__(self, session: Session) -> None:
        self._session = weakref.ref(session)
        self._over = threading.Event()
        self._last = session.channel.last
        threading.Thread(target=self._run, name="sharedmodel-tidier", daemon=True).start()

    def close(self) -> None:
        """End the thread. Idempotent."""
        self._over.set()

    @property
    def closed(self) -> bool:
        return self._over.is_set()

    def _run(self) -> None:
        while not self._over.wait(EVERY):
            session = self._session()
            if session is None or not session.alive or not self._look(session):
                self._over.set()
            del session

    def _look(self, session: Session) -> bool:
        """Whether there is still something to look after."""
        last, self._last = self._last, session.channel.last
        if last == session.channel.last and not session.channel.pending:
            session.tidy()
        return session.channel.room > ROOM
