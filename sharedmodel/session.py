"""One connection to a host, for any number of threads. Calls block until their result is here.

    caller A   send ─ read ─ read ─ [its reply] ─ wake B       (see `sender`, `reader`)
    caller B   send ─ wait ···················· ─ read ─ [its reply]

There is no reading thread: whoever waits reads, for all. A lone caller pays no hop.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from . import deadlines, handshake, link, wire
from .channel import Channel, Loader
from .encoder import ProxyBytes
from .errors import HostLost
from .forks import FORKS
from .memory import NeedRoom
from .pending import Pending
from .reader import Reader, Waiter
from .segment import Segment
from .sender import Sender
from .stream import Stream
from .tensor import Array
from .tidy import ROOM, Tidier

CONTROL: Final = wire.CONTROL


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
        sock: socket.socket | None = None,
    ) -> None:
        """``sock`` is connected to ``address`` already, and the session's from now on."""
        self.address = address
        self._socket = link.connect(address, timeout) if sock is None else sock
        try:
            self.welcome = handshake.greet(self._socket, authkey, shared_memory, timeout)
        except BaseException:
            self._socket.close()
            raise
        self.shared_memory = shared_memory
        self.channel = Channel(self._grow, proxy, load, self._grown)
        self.channel.traced = bool(self.welcome.get("traces"))
        self.reader = Reader(self._socket, address, self.channel, load, self._lose, self.cancel)
        self.sender = Sender(self._socket, address, self.channel, self.reader, self._lose)
        self._refused: set[int] = set()  # threads whose arrays go in the frame, because there is no more room
        self._tidier: Tidier | None = None
        FORKS.watch(self)

    @property
    def alive(self) -> bool:
        return self.channel.lost is None

    # -- calls -------------------------------------------------------------------------------------

    def call(
        self,
        ident: Any,
        method: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        timeout: float | None = None,
        priority: int = 0,
    ) -> Any:
        """The result of ``method`` of object ``ident``. ``priority``: from -2 to 2, where the host heeds it.

        A stream comes back as an iterator. Raises what the model raised, CannotCross, DeadlineExceeded
        after ``timeout`` seconds, HostLost, or another error of the tree in `errors`.
        """
        waiter = Waiter(method)
        if priority:
            waiter.priority = priority
        end = None if timeout is None else deadlines.after(timeout)
        try:
            data = self.channel.begin(waiter, ident, args, kwargs, timeout)
        except NeedRoom as need:
            begin = partial(self.channel.begin, waiter, ident, args, kwargs, timeout)
            data = self._with_room(begin, need.nbytes, end)
        if not self.sender.send(data, end, waiter):
            raise self.channel.unsent()
        self.reader.wait(waiter, end)
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
        self.sender.nudge()

    def nudge(self) -> None:
        """Tell the host what it need not keep or do, if that can be done without waiting."""
        self.sender.nudge()

    def cancel(self, pending: Pending) -> None:
        """Give a call up. Its blocks stay the host's until the host answers."""
        self.sender.cancel(pending)

    # -- room ----------------------------------------------------------------------------------------

    def _grow(self, nbytes: int) -> tuple[int, Segment] | None:
        if not self.shared_memory or (self._refused and threading.get_ident() in self._refused):
            return None
        raise NeedRoom(nbytes)

    def _with_room(self, make: Callable[[], Any], nbytes: int, end: float | None) -> Any:
        """What ``make`` makes, in room that the host is asked for; without any if it refuses this time."""
        try:
            while True:
                if self.control("grow", nbytes, timeout=deadlines.left(end)) is None:
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
            self.sender.send(data)
        self.reader.catch_up()

    # -- the end -------------------------------------------------------------------------------------

    def close(self) -> None:
        """End the session; calls on their way end with HostLost. Idempotent."""
        self._lose(HostLost(f"the session with {self.address} was closed"))

    def forget(self) -> None:
        """In a forked child: let go of what is the parent's, without a word to the host."""
        with contextlib.suppress(OSError):
            os.close(self._socket.detach())
        self.sender.forget()
        self.reader.forget()
        self.channel.forget()

    def _lose(self, error: Exception) -> None:
        ended = self.channel.lose(error)
        FORKS.leave(self)
        if self._tidier is not None:
            self._tidier.close()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes a thread that polls
        self.reader.retire()
        for pending in ended:
            pending.news()
