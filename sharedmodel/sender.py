"""Sending on one session's socket: by one thread at a time, whole frames in the order they were put.

Who can't wait for the lock (a finalizer, a call that is given up) puts its frame into the outbox, and whoever
holds the lock sends it along. While the socket takes no more, the sender reads (see `Reader.await_room`).
"""

from __future__ import annotations

import os
import socket
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from . import deadlines, link, wire
from .channel import Channel
from .errors import DeadlineExceeded, HostLost
from .link import outgoing
from .pending import Pending
from .reader import Reader, within_another

_AT_ONCE: Final = (False,)
_PATIENTLY: Final = (True,)


class Sender:
    """The outgoing side of one session."""

    def __init__(
        self,
        sock: socket.socket,
        address: str,
        channel: Channel,
        reader: Reader,
        lose: Callable[[Exception], None],
    ) -> None:
        """``lose`` ends the session."""
        self._address = address
        self._channel = channel
        self._reader = reader
        self._lose = lose
        self._pid = os.getpid()
        self._outbox = link.Outbox(sock)
        self._lock = threading.Lock()
        self._holder = 0  # the thread that sends

    def send(self, data: bytes, end: float | None = None, pending: Pending | None = None) -> bool:
        """Whether the host may have got it; if not, the session is over.

        Raises DeadlineExceeded; then, and when interrupted, the call of which nothing has left is withdrawn,
        and any other is cancelled.
        """
        frame: link.Outgoing = (data, deque())
        held: deque[bool] = deque()
        try:
            # That the lock was got is noted within one instruction: a Ctrl-C can't come between.
            held.extend(map(self._lock.acquire, _AT_ONCE))
            if not held[0]:
                held.clear()
                if self._holder == threading.get_ident():
                    raise within_another()
                held.extend(map(self._lock.acquire, _PATIENTLY, (deadlines.seconds(end),)))
                if not held[0]:
                    raise deadlines.too_late()
            self._holder = threading.get_ident()
            self._outbox.put(frame)
            while not self._outbox.flush():
                self._reader.await_room(end)
        except BaseException as exc:
            if isinstance(exc, OSError) and not isinstance(exc, DeadlineExceeded):
                with suppress(Exception):
                    self._reader.hear_out()
                self._lose(HostLost(f"the host at {self._address} went away: {exc.strerror}"))
                return sum(frame[1]) == len(data)  # it had left when something behind it could not
            if pending is not None:
                self._give_up(pending, frame)
            raise
        finally:
            if held and held[0]:
                self._holder = 0
                self._lock.release()
                if self._outbox.frames:  # put there by somebody who could not wait for the lock
                    self.nudge()
        return True

    def _give_up(self, pending: Pending, frame: link.Outgoing) -> None:
        """A call that could not be sent in time. The lock is held, or the frame was never put."""
        if frame[1]:
            self._outbox.put(outgoing(wire.frame([wire.CANCEL, pending.rid])))
            return
        self._outbox.remove(frame)
        if told := self._channel.withdraw(pending):
            self._outbox.put(outgoing(told))

    def nudge(self) -> None:
        """Tell the host what it need not keep or do, if that can be done without waiting."""
        if self._channel.lost is not None or self._pid != os.getpid():
            return
        held: deque[bool] = deque()
        try:
            held.extend(map(self._lock.acquire, _AT_ONCE))
            if held[0]:
                self._holder = threading.get_ident()
                if data := self._channel.chores():
                    self._outbox.put(outgoing(data))
                self._outbox.flush()
        except OSError:
            pass  # a dead socket: whoever reads learns it
        finally:
            if held and held[0]:
                self._holder = 0
                self._lock.release()

    def cancel(self, pending: Pending) -> None:
        """Give a call up. Its blocks stay the host's until the host answers."""
        if self._channel.lost is None and not pending.done:
            self._outbox.put(outgoing(wire.frame([wire.CANCEL, pending.rid])))
            self.nudge()

    def credit(self, pending: Pending, items: int) -> None:
        """So many further items of a stream may come."""
        self.send(wire.frame([wire.CREDIT, pending.rid, items]))

    def forget(self) -> None:
        """In a forked child: a thread that is not here may have held it."""
        self._lock = threading.Lock()
        self._holder = 0
