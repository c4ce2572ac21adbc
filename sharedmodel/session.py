"""One connection to a host, for any number of threads. Calls block until their result is here.

There is no reading thread. Whoever waits reads, for all: the first caller takes the reading lock and
hands out replies until its own has come, then wakes the next. A lone caller pays no hop.

    caller A   send ─ read ─ read ─ [its reply] ─ wake B
    caller B   send ─ wait ···················· ─ read ─ [its reply]

Before it blocks, a reader looks a few times whether the reply is there already (see `patience`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, Final

from . import handshake, link, wire
from .channel import Channel, Loader, Pending
from .codec import ProxyBytes
from .errors import DeadlineExceeded, HostLost, ProtocolError
from .patience import Patience
from .segment import Segment
from .tensor import Array
from .tidy import ROOM, Tidier

READ_SIZE: Final = 64 << 10
CREDIT: Final = 8  # items of a stream taken, after which as many more are asked for
CONTROL: Final = 0  # the object that stands for the host itself
_NOW: Final = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
_LOOK_AROUND: Final = 20  # milliseconds


class _Waiter(Pending):
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
        self._inbox = link.Inbox(self._socket)
        self._poller = select.poll()
        self._poller.register(self._socket, select.POLLIN)
        self._send_lock = threading.Lock()
        self._unsent = b""  # what a finalizer had to say and could not; with the lock for sending
        self._read_lock = threading.Lock()
        self._followers: deque[_Waiter] = deque()
        self._tidier: Tidier | None = None
        self._patience = Patience()

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
        waiter = _Waiter(method)
        try:
            data = self.channel.begin(waiter, ident, args, kwargs, timeout)
        except HostLost as exc:  # while asking for room for its arguments
            exc.begun = False
            raise
        if not self._send(data):
            raise self._lost()
        end = None if timeout is None else time.monotonic() + timeout
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
        return self.channel.requests.empty(shape, dtype, order)

    def drop(self, ident: Any) -> None:
        """One reference to an object fewer. Safe in a finalizer: sends only if nobody else is sending."""
        self.channel.drops.append(ident)
        self.nudge()

    def nudge(self) -> None:
        """Tell the host what it need not keep, if that can be done without waiting."""
        if self.alive and self.pid == os.getpid() and self._send_lock.acquire(blocking=False):
            try:
                if data := self._unsent + self.channel.chores():
                    self._unsent = data
                    self._unsent = data[self._socket.send(data, _NOW) :]
            except OSError:
                pass  # a full socket: it goes with the next call. A dead one: the host learns it from its end
            finally:
                self._send_lock.release()

    def close(self) -> None:
        """End the session; calls on their way end with HostLost. Idempotent."""
        self._lose(HostLost(f"the session with {self.address} was closed"))

    def forget(self) -> None:
        """In a forked child: let go of what is the parent's, without a word to the host."""
        with contextlib.suppress(OSError):
            os.close(self._socket.detach())
        self.channel.lost = HostLost("this session belongs to the parent process")
        self.channel.replies.segments.clear()

    # -- sending -----------------------------------------------------------------------------------

    def _send(self, data: bytes) -> bool:
        """Whether the host may have got it; if not, the session is over."""
        try:
            with self._send_lock:
                if self._unsent:
                    data, self._unsent = self._unsent + data, b""
                try:
                    sent = self._socket.send(data, _NOW)
                except BlockingIOError:
                    sent = 0
                if sent < len(data):
                    self._push(memoryview(data)[sent:])
        except OSError as exc:
            self._lose(HostLost(f"the host at {self.address} went away: {exc.strerror}"))
            return False
        return True

    def _push(self, rest: memoryview) -> None:
        """Send the rest of a frame as the host takes it, and read meanwhile: it may be waiting for just that."""
        poller = select.poll()
        try:
            while rest:
                leads = self._read_lock.acquire(blocking=False)
                try:
                    poller.register(self._socket, select.POLLOUT | (select.POLLIN if leads else 0))
                    # Who reads now may leave without a successor.
                    events = poller.poll(None if leads else _LOOK_AROUND)
                    if leads and events and events[0][1] & ~select.POLLOUT:
                        self._read(None)
                finally:
                    if leads:
                        self._read_lock.release()
                        self._pass_on()
                if not self.alive:
                    raise BrokenPipeError(errno.EPIPE, "the session is over")
                with contextlib.suppress(BlockingIOError):
                    rest = rest[self._socket.send(rest, _NOW) :]
        except OSError:
            raise
        except BaseException:
            self._lose(HostLost("interrupted in the middle of a message"))  # which can't be taken up again
            raise

    def _lost(self) -> HostLost:
        error = HostLost(*(self.channel.lost or HostLost("the session is over")).args)
        error.begun = False
        return error

    def _grow(self, nbytes: int) -> tuple[int, Segment] | None:
        if not self.shared_memory:
            return None
        number = self.control("grow", nbytes)
        if number is None:
            return None
        return number, self.channel.arrived(number)

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

    def _wait(self, waiter: _Waiter, end: float | None) -> None:
        """Until there is news of the call. Raises DeadlineExceeded; a call that is left is cancelled."""
        try:
            while not waiter.ready:
                if self._read_lock.acquire(blocking=False):
                    self._lead(waiter, end)
                else:
                    self._follow(waiter, end)
        except BaseException:
            if not self._read_lock.locked():
                self._pass_on()  # the turn may have been given to us as we left
            self.cancel(waiter)
            raise

    def _lead(self, waiter: _Waiter, end: float | None) -> None:
        try:
            while not waiter.ready:
                self._read(end)
        finally:
            self._read_lock.release()
            self._pass_on()

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

    def _follow(self, waiter: _Waiter, end: float | None) -> None:
        waiter.gate = gate = threading.Lock()
        gate.acquire()
        self._followers.append(waiter)
        try:
            # The reader may have left between our look at its lock and our queueing up.
            if not waiter.ready and self._read_lock.locked():
                left = -1.0 if end is None else max(0.0, end - time.monotonic())
                if not gate.acquire(timeout=left) and not waiter.ready:
                    raise _too_late()
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
            self._send(wire.frame([wire.CANCEL, pending.rid]))

    def credit(self, pending: Pending, items: int) -> None:
        self._send(wire.frame([wire.CREDIT, pending.rid, items]))

    def _lose(self, error: Exception) -> None:
        ended = self.channel.lose(error)
        if self._tidier is not None:
            self._tidier.close()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes a thread that polls
        self._socket.close()
        for pending in ended:
            pending.news()


class Stream(Iterator[Any]):
    """The items of a streamed result, as they are made. Close it to end the method early."""

    def __init__(self, session: Session, waiter: _Waiter, end: float | None) -> None:
        self._session = session
        self._waiter = waiter
        self._end = end
        self._taken = 0
        self._closed = False

    def __next__(self) -> Any:
        waiter = self._waiter
        items = waiter.stream
        assert items is not None
        if self._closed:
            raise StopIteration
        while not items and not waiter.done:
            waiter.ready = False
            if not items and not waiter.done:  # as they may have come before we reset the flag
                self._session._wait(waiter, self._end)
        if items:
            self._taken += 1
            if self._taken % CREDIT == 0 and not waiter.done:
                self._session.credit(waiter, CREDIT)
            return items.popleft()
        self._closed = True
        if waiter.error is not None:
            raise waiter.error
        raise StopIteration

    def close(self) -> None:
        """End the stream; the method in the host is told. Idempotent."""
        if not self._closed:
            self._closed = True
            self._session.cancel(self._waiter)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._closed and not self._waiter.done:
            self._session.channel.drops.append(("stream", self._waiter.rid))
            self._session.nudge()


def _milliseconds(end: float | None) -> int | None:
    return None if end is None else max(0, int((end - time.monotonic()) * 1000) + 1)


def _too_late() -> Exception:
    return DeadlineExceeded("the caller's deadline passed before the result came")
