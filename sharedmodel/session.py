"""One connection to a host, for any number of threads. Calls block until their result is here.

There is no reading thread. Whoever waits reads, for all: the first caller takes the reading lock and
hands out replies until its own has come, then wakes the next. A lone caller pays no hop.

    caller A   send ─ read ─ read ─ [its reply] ─ wake B
    caller B   send ─ wait ···················· ─ read ─ [its reply]

Before it blocks, a reader looks a few times whether the reply is there already (see `patience`).
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from . import handshake, link, wire
from .channel import Channel, Loader, Pending
from .codec import ProxyBytes
from .errors import DeadlineExceeded, HostLost, ProtocolError
from .forks import FORKS
from .link import outgoing
from .memory import NeedRoom
from .patience import Patience
from .segment import Segment
from .stream import Stream
from .tensor import Array
from .tidy import ROOM, Tidier

READ_SIZE: Final = 64 << 10
CONTROL: Final = 0  # the object that stands for the host itself
_AGAIN: Final = 1.0  # seconds after which who waits for another's reading looks whether that one is still there
_READER_LEFT: Final = 0.05  # the same, of one that is about to send
_AT_ONCE: Final = (False,)
_PATIENTLY: Final = (True,)


class Waiter(Pending):
    """A call whose thread may sleep on its gate while another thread reads."""

    gate: threading.Lock | None = None

    def news(self) -> None:
        self.ready = True
        self.wake()

    def wake(self) -> None:
        if (gate := self.gate) is not None:
            with contextlib.suppress(RuntimeError):  # open already
                gate.release()


class Session:
    """A connection and all it holds; everything goes when it goes.

    Raises HostUnavailable, NotPermitted or AuthenticationError when it can't be made.
    """

    def __init__(
        self,
        address: str,
        *,
        authkey: bytes | None = None,
        timeout: float | None = None,
        shared_memory: bool = True,
        proxy: ProxyBytes = lambda value: None,
        load: Loader = lambda fields: None,
    ) -> None:
        self.address = address
        self.pid = os.getpid()
        self._socket = link.connect(address, timeout)
        try:
            self.welcome = handshake.greet(self._socket, authkey, shared_memory, timeout)
        except BaseException:
            self._socket.close()
            raise
        self.shared_memory = shared_memory
        self.channel = Channel(self._grow, proxy, load, self._grown)
        # What has come and is to be counted elsewhere: no call may be made while this thread reads for all.
        self._unsettled: deque[Any] = getattr(load, "unsettled", deque())
        self._settle: Callable[[], Any] = getattr(load, "settle", int)
        self._inbox = link.Inbox(self._socket)
        self._outbox = link.Outbox(self._socket)
        self._refused: set[int] = set()  # threads whose arrays go in the frame, because there is no more room
        self._poller = select.poll()
        self._poller.register(self._socket, select.POLLIN)
        self._send_lock = threading.Lock()
        self._read_lock = threading.Lock()
        self._followers: deque[Waiter] = deque()
        self._tidier: Tidier | None = None
        self._patience = Patience()
        FORKS.watch(self)

    @property
    def alive(self) -> bool:
        return self.channel.lost is None

    # -- calls -------------------------------------------------------------------------------------

    def call(
        self, ident: Any, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], timeout: float | None = None
    ) -> Any:
        """The result of ``method`` of object ``ident``.

        A stream comes back as an iterator. Raises what the model raised, CannotCross, DeadlineExceeded
        after ``timeout`` seconds, HostLost, or another error of the tree in `errors`.
        """
        waiter = Waiter(method)
        end = None if timeout is None else time.monotonic() + timeout
        try:
            data = self.channel.begin(waiter, ident, args, kwargs, timeout)
        except NeedRoom as need:
            begin = partial(self.channel.begin, waiter, ident, args, kwargs, timeout)
            data = self._with_room(begin, need.nbytes, end)
        if not self._send(data, end, waiter):
            raise self._lost()
        self._wait(waiter, end)
        if waiter.error is not None and waiter.stream is None:  # a stream's comes after its items
            try:
                raise waiter.error
            finally:
                del waiter  # or the error, its traceback and this frame keep one another alive
        if waiter.stream is not None:
            return Stream(self, waiter, end)
        return waiter.value

    def control(self, method: str, *args: Any, timeout: float | None = None) -> Any:
        """A call to the host itself."""
        return self.call(CONTROL, method, args, {}, timeout)

    def empty(self, shape: Any, dtype: Any = float, order: Any = "C") -> Array | None:
        """An array in shared memory, or None where there is none to be had."""
        try:
            return self.channel.requests.empty(shape, dtype, order)
        except NeedRoom as need:
            make = partial(self.channel.requests.empty, shape, dtype, order)
            array: Array | None = self._with_room(make, need.nbytes, None)
            return array

    def drop(self, ident: Any) -> None:
        """One reference to an object fewer. Safe in a finalizer: sends only if nobody else is sending."""
        self.channel.drops.append(ident)
        self.nudge()

    def nudge(self) -> None:
        """Tell the host what it need not keep or do, if that can be done without waiting."""
        if not self.alive or self.pid != os.getpid():
            return
        held: deque[bool] = deque()
        try:
            held.extend(map(self._send_lock.acquire, _AT_ONCE))
            if held[0]:
                if data := self.channel.chores():
                    self._outbox.put(outgoing(data))
                self._outbox.flush()
        except OSError:
            pass  # a dead socket: whoever reads learns it
        finally:
            if held and held[0]:
                self._send_lock.release()

    def close(self) -> None:
        """End the session; calls on their way end with HostLost. Idempotent."""
        self._lose(HostLost(f"the session with {self.address} was closed"))

    def forget(self) -> None:
        """In a forked child: let go of what is the parent's, without a word to the host."""
        with contextlib.suppress(OSError):
            os.close(self._socket.detach())
        self._send_lock = threading.Lock()  # a thread that is not here may have held them
        self._read_lock = threading.Lock()
        self.channel.forget()

    # -- sending -----------------------------------------------------------------------------------

    def _send(self, data: bytes, end: float | None = None, waiter: Waiter | None = None) -> bool:
        """Whether the host may have got it; if not, the session is over.

        Raises DeadlineExceeded; then, and when interrupted, the call of which nothing has left is withdrawn,
        and any other is cancelled.
        """
        frame = outgoing(data)
        held: deque[bool] = deque()
        try:
            # That the lock was got is noted within one instruction: a Ctrl-C can't come between.
            held.extend(map(self._send_lock.acquire, _PATIENTLY, (_seconds(end),)))
            if not held[0]:
                raise _too_late()
            self._outbox.put(frame)
            while not self._outbox.flush():
                self._await_room(end)
        except BaseException as exc:
            if isinstance(exc, OSError) and not isinstance(exc, DeadlineExceeded):
                self._lose(HostLost(f"the host at {self.address} went away: {exc.strerror}"))
                return False
            if waiter is not None:
                self._give_up(waiter, frame)
            raise
        finally:
            if held and held[0]:
                self._send_lock.release()
                if self._outbox:  # put there by somebody who could not wait for the lock
                    self.nudge()
        return True

    def _give_up(self, waiter: Waiter, frame: link.Outgoing) -> None:
        """A call that could not be sent in time. The sending lock is held, or the frame was never put."""
        if frame[1]:
            self._outbox.put(outgoing(wire.frame([wire.CANCEL, waiter.rid])))
            return
        self._outbox.remove(frame)
        if told := self.channel.withdraw(waiter):
            self._outbox.put(outgoing(told))

    def _await_room(self, end: float | None) -> None:
        """Until the socket may take more. The host may wait for its replies to be read first."""
        if self._read_lock.acquire(blocking=False):
            try:
                self._read_or_write(end)
            finally:
                self._read_lock.release()
                self._pass_on()
        elif not self._poll(select.POLLOUT, _slice(_READER_LEFT, end)):
            _check(end)

    def _read_or_write(self, end: float | None) -> None:
        events = self._poll(select.POLLIN | select.POLLOUT, _seconds(end))
        if not events:
            raise _too_late()
        if events & ~select.POLLOUT:
            self._read(None)

    def _poll(self, mask: int, seconds: float) -> int:
        poller = select.poll()
        poller.register(self._socket, mask)
        ready = poller.poll(None if seconds < 0 else int(seconds * 1000) + 1)
        return ready[0][1] if ready else 0

    def _lost(self) -> HostLost:
        error = HostLost(*(self.channel.lost or HostLost("the session is over")).args)
        error.begun = False
        return error

    def _grow(self, nbytes: int) -> tuple[int, Segment] | None:
        if not self.shared_memory or (self._refused and threading.get_ident() in self._refused):
            return None
        raise NeedRoom(nbytes)

    def _with_room(self, make: Callable[[], Any], nbytes: int, end: float | None) -> Any:
        """What ``make`` makes, in room that the host is asked for; without any if it refuses this time."""
        try:
            while True:
                if self.control("grow", nbytes, timeout=None if end is None else _seconds(end)) is None:
                    self._refused.add(threading.get_ident())
                try:
                    return make()  # the segment has arrived before the answer
                except NeedRoom as need:
                    nbytes = need.nbytes
        except HostLost as exc:
            exc.begun = False
            raise
        finally:
            self._refused.discard(threading.get_ident())

    def _grown(self) -> None:
        if self.channel.room > ROOM and (self._tidier is None or self._tidier.closed):
            self._tidier = Tidier(self)

    def tidy(self) -> None:
        """Give back the room that nothing lies in, and take note of what the host gave back."""
        if data := self.channel.chores() + self.channel.trim():
            self._send(data)
        if self._read_lock.acquire(blocking=False):
            try:
                while self.alive and self._poller.poll(0):
                    self._read(None)
            finally:
                self._read_lock.release()
                self._pass_on()  # to a call that came meanwhile and found the lock taken

    # -- waiting -----------------------------------------------------------------------------------

    def _wait(self, waiter: Waiter, end: float | None) -> None:
        """Until there is news of the call. Raises DeadlineExceeded; a call that is left is cancelled."""
        held: deque[bool] = deque()
        try:
            while not waiter.ready:
                held.extend(map(self._read_lock.acquire, _AT_ONCE))
                if held[-1]:
                    while not waiter.ready:
                        self._read(end)
                else:
                    self._follow(waiter, end)
        except BaseException:
            self.cancel(waiter)
            raise
        finally:
            if held and held[-1]:
                self._read_lock.release()
            if not self._read_lock.locked():
                self._pass_on()  # also one that was given the turn as it left
        if self._unsettled:
            self._settle()

    def _pass_on(self) -> None:
        """Wake one that still waits, to read for all. One whose reply has come would not."""
        while self._followers:
            try:
                follower = self._followers.popleft()
            except IndexError:
                return
            if not follower.ready:
                follower.wake()
                return

    def _follow(self, waiter: Waiter, end: float | None) -> None:
        waiter.gate = gate = threading.Lock()
        gate.acquire()
        self._followers.append(waiter)
        try:
            # The reader may have left between our look at its lock and our queueing up.
            if not waiter.ready and self._read_lock.locked() and not gate.acquire(timeout=_slice(_AGAIN, end)):
                _check(end)
        finally:
            waiter.gate = None
            with contextlib.suppress(ValueError):
                self._followers.remove(waiter)

    def _read(self, end: float | None) -> None:
        """Take in what the host has sent, waiting for it. The reading lock is held."""
        if self.channel.lost is not None:
            raise self.channel.lost
        inbox = self._inbox
        try:
            if not inbox:
                start = time.perf_counter()
                if not self._look() and end is not None and not self._poller.poll(_milliseconds(end)):
                    raise _too_late()
                inbox.fill(READ_SIZE)
                self._patience.note(time.perf_counter() - start)
            data, fds = inbox.take()
        except OSError as exc:
            if isinstance(exc, DeadlineExceeded):
                raise
            self._lose(HostLost(f"the host at {self.address} went away in mid-call: {exc.strerror}"))
            return
        if not data:
            self._lose(HostLost(f"the host at {self.address} went away in mid-call"))
            return
        self._feed(data, fds)

    def _feed(self, data: bytes, fds: list[int]) -> None:
        try:
            self.channel.feed(data, fds)
        except ProtocolError as exc:
            self._lose(exc)
            raise
        except OSError as exc:
            self._lose(HostLost(f"a segment of {self.address} could not be mapped: {exc}"))
            raise
        except BaseException:
            self._lose(HostLost("interrupted in the middle of a message"))  # which can't be taken up again
            raise

    def _look(self) -> bool:
        """Look a few times whether something is there."""
        poll = self._poller.poll
        return any(poll(0) for _ in range(self._patience.looks))

    # -- the end of calls and of the session ---------------------------------------------------------

    def cancel(self, pending: Pending) -> None:
        """Give a call up. Its blocks stay the host's until the host answers."""
        if self.alive and not pending.done:
            self._outbox.put(outgoing(wire.frame([wire.CANCEL, pending.rid])))
            self.nudge()

    def credit(self, pending: Pending, items: int) -> None:
        self._send(wire.frame([wire.CREDIT, pending.rid, items]))

    def _lose(self, error: Exception) -> None:
        ended = self.channel.lose(error)
        FORKS.leave(self)
        if self._tidier is not None:
            self._tidier.close()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes a thread that polls
        self._socket.close()
        for pending in ended:
            pending.news()


def _milliseconds(end: float | None) -> int | None:
    return None if end is None else max(0, int((end - time.monotonic()) * 1000) + 1)


def _seconds(end: float | None) -> float:
    """How long a wait may take, as locks want it: -1 for as long as it takes."""
    return -1.0 if end is None else max(0.0, end - time.monotonic())


def _slice(seconds: float, end: float | None) -> float:
    return seconds if end is None else min(seconds, _seconds(end))


def _check(end: float | None) -> None:
    if end is not None and time.monotonic() >= end:
        raise _too_late()


def _too_late() -> Exception:
    return DeadlineExceeded("the caller's deadline passed before the result came")
