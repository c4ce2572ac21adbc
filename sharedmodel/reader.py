"""Reading one session's socket, on the thread of whoever waits: there is no thread that reads.

Who waits first takes the reading lock and hands out replies, for all, until its own has come; then it wakes
the next. The others follow: each sleeps on a gate of its own.

    caller A   read ─ read ─ [its reply] ─ wake B
    caller B   follow ····················  ─ read ─ [its reply]

Before it blocks, a reader looks a few times whether the reply is there already (see `patience`).
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from . import deadlines, link
from .channel import Channel, Loader
from .errors import DeadlineExceeded, HostLost, ProtocolError
from .patience import Patience
from .pending import Pending

_AGAIN: Final = 1.0  # seconds after which who waits for another's reading looks whether that one is still there
_READER_LEFT: Final = 0.05  # the same, of one that is about to send
_AT_ONCE: Final = (False,)


def within_another() -> RuntimeError:
    """For a call that would wait for itself: the one it interrupted has what it waits for."""
    return RuntimeError(
        "a finalizer (__del__) or a signal handler made this call in the middle of another one of the same thread, "
        "which can't go on before it; make it in another thread"
    )


class Waiter(Pending):
    """A call whose thread may sleep on its gate while another thread reads."""

    gate: threading.Lock | None = None

    def news(self) -> None:
        self.ready = True
        if self.gate is not None:
            self.wake()

    def wake(self) -> None:
        if (gate := self.gate) is not None:
            with contextlib.suppress(RuntimeError):  # open already
                gate.release()


class Reader:
    """Who reads, and who waits to."""

    def __init__(
        self,
        sock: socket.socket,
        address: str,
        channel: Channel,
        load: Loader,
        lose: Callable[[Exception], None],
        give_up: Callable[[Waiter], None],
    ) -> None:
        """``lose`` ends the session, ``give_up`` cancels a call whose caller does not wait any more."""
        self.lock = threading.Lock()
        self._holder = 0  # the thread that reads
        self.followers: deque[Waiter] = deque()
        self.poller = select.poll()
        self.poller.register(sock, select.POLLIN)
        self._socket = sock
        self._address = address
        self._channel = channel
        self._lose = lose
        self._give_up = give_up
        # What has come and is to be counted elsewhere: no call may be made while this thread reads for all.
        self._unsettled: deque[Any] = getattr(load, "unsettled", deque())
        self._settle: Callable[[], Any] = getattr(load, "settle", int)
        self._retired = False
        self._inbox = link.Inbox(sock)
        self._patience = Patience()

    def wait(self, waiter: Waiter, end: float | None) -> None:
        """Until there is news of the call. Raises DeadlineExceeded; a call that is left is cancelled."""
        held: deque[bool] = deque()
        try:
            while not waiter.ready:
                held.extend(map(self.lock.acquire, _AT_ONCE))
                if held[-1]:
                    self._holder = threading.get_ident()
                    while not waiter.ready:
                        self._read(end)
                elif self._holder == threading.get_ident():
                    raise within_another()
                else:
                    self._follow(waiter, end)
        except BaseException as exc:
            self._left(waiter, exc)
            raise
        finally:
            if held and held[-1]:
                self._holder = 0
                self.lock.release()
            if self.followers and not self.lock.locked():
                self._pass_on()  # also one that was given the turn as it left
            if self._retired:
                self.retire()
        if self._unsettled:
            self._settle()

    def _left(self, waiter: Waiter, exc: BaseException) -> None:
        if isinstance(exc, HostLost):
            exc.request = waiter.rid
            exc.begun = exc.begun and self._channel.may_have_begun(waiter.rid)
        self._give_up(waiter)

    def catch_up(self) -> None:
        """Take in what is there already, if nobody is reading."""
        self._unless_read(self._read_what_is_there)

    def hear_out(self) -> None:
        """Take in what the host has said at its end, or wait, for a moment, until who reads now has."""
        if self._holder != threading.get_ident():
            self._unless_read(self._read_what_is_there, _AGAIN)

    def await_room(self, end: float | None) -> None:
        """Until the socket may take more. The host may wait for its replies to be read first."""
        if not self._unless_read(lambda: self._read_or_write(end)) and not self._poll(
            select.POLLOUT, deadlines.within(_READER_LEFT, end)
        ):
            deadlines.check(end)

    def _unless_read(self, task: Callable[[], None], patience: float = 0.0) -> bool:
        """Do it as the one who reads; False where somebody else is that, and still is after ``patience`` seconds."""
        if not self.lock.acquire(timeout=patience):
            return False
        try:
            self._holder = threading.get_ident()
            task()
        finally:
            self._holder = 0
            self.lock.release()
            self._pass_on()  # to a call that came meanwhile and found the lock taken
            if self._retired:
                self.retire()
        return True

    def retire(self) -> None:
        """Close the socket of a session that is lost, or have whoever reads do so as it leaves.

        One that is about to poll would else wait for whatever has been given the number meanwhile.
        """
        self._retired = True
        if self.lock.acquire(blocking=False):
            try:
                self._socket.close()
            finally:
                self.lock.release()

    def forget(self) -> None:
        """In a forked child: a thread that is not here may have held it."""
        self.lock = threading.Lock()
        self._holder = 0

    # -- turns ---------------------------------------------------------------------------------------

    def _pass_on(self) -> None:
        """Wake one that still waits, to read for all. One whose reply has come would not."""
        while self.followers:
            try:
                follower = self.followers.popleft()
            except IndexError:
                return
            if not follower.ready:
                follower.wake()
                return

    def _follow(self, waiter: Waiter, end: float | None) -> None:
        waiter.gate = gate = threading.Lock()
        gate.acquire()
        self.followers.append(waiter)
        try:
            # The reader may have left between our look at its lock and our queueing up.
            if not waiter.ready and self.lock.locked() and not gate.acquire(timeout=deadlines.within(_AGAIN, end)):
                deadlines.check(end)
        finally:
            waiter.gate = None
            with contextlib.suppress(ValueError):
                self.followers.remove(waiter)

    # -- the socket; the lock is held ----------------------------------------------------------------

    def _read(self, end: float | None) -> None:
        """Take in what the host has sent, waiting for it."""
        if self._channel.lost is not None:
            raise self._channel.over()
        inbox = self._inbox
        try:
            if not inbox.reads:
                patience = self._patience
                start, looks = time.perf_counter(), patience.looks
                # Not in recvmsg: there the kernel wakes us a second time, when the host has taken what we sent.
                within = None if end is None else deadlines.milliseconds(end)
                if not (looks and self._look(looks)) and not self.poller.poll(within):
                    raise deadlines.too_late()
                inbox.fill()
                patience.note(time.perf_counter() - start)
        except OSError as exc:
            if isinstance(exc, DeadlineExceeded):
                raise
            self._lose(HostLost(f"the host at {self._address} went away in mid-call: {exc.strerror}"))
            return
        try:
            data, fds = inbox.take()
            if data:
                self._channel.feed(data, fds)
            else:
                self._lose(HostLost(f"the host at {self._address} went away in mid-call"))
        except OSError as exc:
            self._lose(HostLost(f"a segment of {self._address} could not be mapped: {exc}"))
        except BaseException as exc:  # in the middle of a message, which can't be taken up again
            self._lose(exc if isinstance(exc, ProtocolError) else HostLost("interrupted in the middle of a message"))
            raise

    def _look(self, times: int) -> bool:
        """Look a few times whether something is there."""
        # map, because a generator would be one more frame, and this is C but for its beginning
        return any(map(self.poller.poll, itertools.repeat(0, times)))

    def _read_what_is_there(self) -> None:
        while self._channel.lost is None and self.poller.poll(0):
            self._read(None)

    def _read_or_write(self, end: float | None) -> None:
        events = self._poll(select.POLLIN | select.POLLOUT, deadlines.seconds(end))
        if not events:
            raise deadlines.too_late()
        if events & ~select.POLLOUT:
            self._read(None)

    def _poll(self, mask: int, seconds: float) -> int:
        if (fd := self._socket.fileno()) < 0:
            raise OSError(errno.EBADF, "the session was closed")
        poller = select.poll()
        poller.register(fd, mask)
        ready = poller.poll(None if seconds < 0 else int(seconds * 1000) + 1)
        return ready[0][1] if ready else 0
