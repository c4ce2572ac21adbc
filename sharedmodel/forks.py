"""What a fork does to the sessions of a process, however they were made.

    before      arrays in shared memory are cut off: each process will have its own (see `memory`)
    in parent   all goes on
    in child    the sessions are the parent's; the child lets go of them and makes its own

Arrays outlive their session: it is known here where those of a session that is over lie.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from .channel import Channel
    from .roots import Roots


class Forkable(Protocol):
    """A session, to be forgotten in a child."""

    channel: Channel

    def forget(self) -> None: ...


class Forks:
    """The sessions of this process; `FORKS` is the only one."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._open: weakref.WeakSet[Forkable] = weakref.WeakSet()
        self._left: list[Roots] = []
        self._quiesced: list[Channel] = []
        self._hooked = False

    def watch(self, session: Forkable) -> None:
        """A session was made."""
        with self._lock:
            self._open.add(session)
            if not self._hooked:
                self._hooked = True
                os.register_at_fork(before=self._before, after_in_parent=self._in_parent, after_in_child=self._in_child)

    def leave(self, session: Forkable) -> None:
        """A session is over. Idempotent."""
        with self._lock:
            if session in self._open:
                self._open.discard(session)
                self._left = [roots for roots in (*self._left, *session.channel.arrays) if roots.living]

    def _before(self) -> None:
        self._lock.acquire()
        for session in self._open:
            session.channel.requests.lock.acquire()
            self._quiesced.append(session.channel)
            self._left += session.channel.arrays
        for roots in self._left:
            roots.cut_off()
        self._left.clear()  # nothing that lives is shared any more

    def _in_parent(self) -> None:
        for channel in self._quiesced:
            channel.requests.lock.release()
        self._quiesced.clear()
        self._lock.release()

    def _in_child(self) -> None:
        for session in self._open:
            session.forget()
        self._open.clear()
        self._quiesced.clear()
        self._lock = threading.RLock()


FORKS: Final = Forks()
