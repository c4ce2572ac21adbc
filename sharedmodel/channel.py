"""The client's end of a session, without its socket: calls become frames, frames become results.

    begin() ── frames ──► (a driver sends)          `Session` blocks, `AsyncSession` awaits:
    feed()  ◄─ bytes, fds ── (a driver reads)        both drive this one class

A call's arrays lie in blocks of `requests` until its reply has come; results lie in `replies`, the
host's blocks, and go back with the next frame that leaves. Who calls `feed` has the reading for
itself; `begin` may be called by any number of threads at once.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from . import failure, wire
from .codec import Decoder, Encoder, ProxyBytes
from .culprit import explain
from .errors import CannotCross, HostLost, ProtocolError
from .link import close_all
from .marks import outermost
from .memory import VIEW_FROM, Mapped, Owner
from .roots import Roots, drain
from .segment import Segment
from .tensor import Array, Layout, TensorRef

REQUEST_QUOTA: Final = 1 << 62  # the host decides how much a session may have
WINDOW: Final = 16  # items of a stream on their way before the host waits for credit

Loader = Callable[[list[Any]], Any]


class Pending:
    """A call on its way. ``ready`` is set when there is news: its end, or an item of its stream."""

    # Class attributes, because a call sets two or three of these and making one must be cheap.
    rid = 0
    ready = False
    done = False
    value: Any = None
    error: Exception | None = None
    gave: Sequence[int] = ()
    told = b""
    refs: Sequence[TensorRef] = ()
    stream: deque[Any] | None = None

    def __init__(self, method: str = "") -> None:
        self.method = method

    def news(self) -> None:
        """The call has ended, its stream has begun, or an item is here."""
        self.ready = True


class Channel:
    """State of one session at the client."""

    def __init__(
        self,
        grow: Callable[[int], tuple[int, Segment] | None],
        proxy: ProxyBytes,
        load: Loader,
        grown: Callable[[], None] = lambda: None,
    ) -> None:
        """``grow`` asks the host for room for arguments; ``grown`` is told of every further segment."""
        self._grown = grown
        self.requests = Owner(grow, REQUEST_QUOTA)
        self.replies = Mapped()
        self.pending: dict[int, Pending] = {}
        self.drops: deque[Any] = deque()
        self.lost: Exception | None = None
        self._numbers = itertools.count(1)
        self.last = 0
        self._released: deque[int] = deque()
        self._views = Roots()
        self._framer = wire.Framer()
        self._parts = wire.Parts()
        self._decoder = Decoder(self, writable=True, proxy=load)
        self._proxy = proxy
        self._encoders: list[Encoder] = []
        self._fds: deque[int] = deque()
        self._kept: dict[int, int] = {}
        self._held: dict[int, list[list[int]]] = {}
        self._early: set[int] = set()

    # -- out ---------------------------------------------------------------------------------------

    def begin(
        self, pending: Pending, ident: Any, args: tuple[Any, ...], kwargs: dict[str, Any], timeout: float | None
    ) -> bytes:
        """The bytes of a call; ``pending`` is registered. Raises CannotCross with the culprit's path."""
        rid = pending.rid = self.last = next(self._numbers)
        encoder = self._encoders.pop() if self._encoders else Encoder(self, self._proxy)
        released = self._take_released()
        try:
            listed = [outermost(arg) for arg in args] if args else []
            named = {key: outermost(arg) for key, arg in kwargs.items()} if kwargs else kwargs
            payload = encoder.pack([wire.CALL, rid, ident, pending.method, listed, named, timeout, released])
            data = wire.framed(payload) if len(payload) <= wire.SPILL_FROM else encoder.long(rid, payload)
        except BaseException as exc:
            self._released.extend(released or ())
            self.undo(encoder.refs)
            if isinstance(exc, CannotCross):
                raise explain(places(args, kwargs), self._proxy) from None
            raise
        pending.refs = encoder.refs
        if len(payload) <= wire.SPILL_FROM:  # a larger one's encoder keeps its buffer
            self._encoders.append(encoder)
        self.pending[rid] = pending
        if released:
            pending.gave = released
        if self.drops:
            pending.told = self._dropped()
            return pending.told + data
        return data

    def withdraw(self, pending: Pending) -> bytes:
        """A call of which nothing was sent is undone; what is to be sent all the same."""
        self.pending.pop(pending.rid, None)
        self.undo(pending.refs)
        self._released.extend(pending.gave)
        return pending.told

    def chores(self) -> bytes:
        """What is to be told to the host without a call: results given back, references dropped."""
        released = self._take_released()
        data = wire.frame([wire.RELEASE, released]) if released else b""
        return data + self._dropped() if self.drops else data

    @property
    def room(self) -> int:
        """Bytes in the segments of both directions."""
        return self.requests.capacity + sum(segment.size for segment in list(self.replies.segments.values()))

    def trim(self) -> bytes:
        """Give back room that nothing lies in; what is to be told to the host of it."""
        gone = self.requests.trim()
        return wire.frame([wire.GONE, gone]) if gone else b""

    def _dropped(self) -> bytes:
        return wire.frame([wire.DROP, drain(self.drops)])

    def _take_released(self) -> list[int] | None:
        taken = [root.ref.block for root in self._views.bury()] if self._views.dead else []
        if self._released:
            taken += drain(self._released)
        return taken or None

    # -- arrays, as the encoder and the decoder see them ---------------------------------------------

    def find(self, array: Array) -> TensorRef | None:
        return self.requests.find(array) or self._views.find(array)

    def place(self, nbytes: int) -> tuple[TensorRef, memoryview, bool] | None:
        return self.requests.place(nbytes)

    def view(self, ref: TensorRef, layout: Layout, copy_out: bool) -> Array:
        segment = self.replies.segments.get(ref.segment)
        if segment is None or ref.offset + ref.nbytes > segment.size:
            raise ProtocolError(f"{ref} lies outside the session's segments")
        found: Array = np.ndarray(layout.shape, layout.dtype, segment.map, ref.offset, None, layout.order)
        if copy_out or ref.nbytes <= VIEW_FROM:
            own: Array = np.empty(layout.shape, layout.dtype, layout.order)
            own[...] = found
            self._released.append(ref.block)
            return own
        self._views.add(found, ref)
        return found

    def take(self, ref: TensorRef) -> bytes:
        taken = self.replies.bytes(ref)
        self._released.append(ref.block)
        return taken

    # -- in ------------------------------------------------------------------------------------------

    def feed(self, data: bytes, fds: list[int]) -> None:
        """Take in what has come. Raises ProtocolError when the host breaks the rules."""
        if fds:
            self._fds.extend(fds)
        for payload in self._framer.feed(data):
            self._message(payload)

    def _message(self, payload: Any) -> None:
        message = self._decoder.unpack(payload)
        try:
            _HANDLERS[message[0]](self, message)
        except KeyError:
            raise ProtocolError(f"a frame of unknown kind {message[0]} from the host") from None
        except (ValueError, TypeError, IndexError) as exc:
            raise ProtocolError(f"a malformed frame of kind {message[0]} from the host") from exc

    def _reply(self, message: list[Any]) -> None:
        problem = self._decoder.problem
        self._finish(message[1], message[2], None if problem is None else CannotCross(str(problem)))

    def _failure(self, message: list[Any]) -> None:
        self._finish(message[1], None, failure.from_wire(message[2:]))

    def _finish(self, rid: int, value: Any, error: Exception | None) -> None:
        pending = self.pending.pop(rid, None)
        if pending is None:
            return
        if pending.refs:
            self._settle(pending)
        pending.value = value
        pending.error = error
        pending.done = True
        pending.news()

    def _settle(self, pending: Pending) -> None:
        for serial, ticket in self._held.pop(pending.rid, ()):
            if ticket in self._early:
                self._early.discard(ticket)
                continue
            # One pin of the block stays until the host lets go.
            self._kept[ticket] = serial
            pending.refs = _without(pending.refs, serial)
        self.undo(pending.refs)

    def undo(self, refs: Sequence[TensorRef]) -> None:
        """Their message is done with, or was not sent: one user of each block fewer."""
        for ref in refs:
            if self.requests.owns(ref.segment):
                self.requests.unpin(ref.block)

    def _begin_stream(self, message: list[Any]) -> None:
        if (pending := self.pending.get(message[1])) is not None:
            pending.stream = deque()
            pending.news()

    def _item(self, message: list[Any]) -> None:
        pending = self.pending.get(message[1])
        if pending is not None and pending.stream is not None:
            if (problem := self._decoder.problem) is not None:
                self.drops.append(("stream", pending.rid))
                self._finish(pending.rid, None, CannotCross(str(problem)))
                return
            pending.stream.append(message[2])
            pending.news()

    def _segment(self, message: list[Any]) -> None:
        _, number, size, kind, of_requests = message
        if not self._fds:
            raise ProtocolError("a segment was announced without its descriptor")
        segment = Segment(self._fds.popleft(), size, kind)
        if of_requests:
            self.requests.add(number, segment)
        else:
            self.replies.add(number, segment)
        self._grown()

    def _gone(self, message: list[Any]) -> None:
        for number in message[1]:
            self.replies.segments.pop(number, None)

    def _hold(self, message: list[Any]) -> None:
        self._held[message[1]] = message[2]

    def _let_go(self, message: list[Any]) -> None:
        for ticket in message[1]:
            if (serial := self._kept.pop(ticket, None)) is not None:
                self.requests.unpin(serial)
            else:
                self._early.add(ticket)  # let go while the reply that says it was kept is on its way

    def _part(self, message: list[Any]) -> None:
        if (payload := self._parts.add(message)) is not None:
            self._message(payload)

    def _spilled(self, message: list[Any]) -> None:
        ref = TensorRef.unpack(message[2], 0)
        self._message(self.take(ref))

    def _nothing(self, message: list[Any]) -> None:
        pass

    # -- the end -------------------------------------------------------------------------------------

    def lose(self, error: Exception) -> list[Pending]:
        """The session is over: every call ends with the error. They are returned."""
        if self.lost is None:
            self.lost = error
        ended = []
        while self.pending:
            _, pending = self.pending.popitem()
            lost = type(error)(*error.args) if isinstance(error, HostLost) else HostLost(str(error))
            lost.request = pending.rid
            pending.error = lost
            pending.done = True
            ended.append(pending)
        close_all(list(self._fds))
        self._fds.clear()
        return ended

    def forget(self) -> None:
        """In a forked child: nothing of this is its own, except the arrays that live."""
        self.lost = HostLost("this session belongs to the parent process")
        self.pending.clear()
        self.replies.segments.clear()
        self.requests.lock = threading.Lock()  # the parent's was held over the fork
        self.requests.close()

    @property
    def arrays(self) -> tuple[Roots, Roots]:
        """What lives in shared memory here: the caller's arguments and its results."""
        return self.requests.roots, self._views


def _without(refs: Sequence[TensorRef], serial: int) -> Sequence[TensorRef]:
    index = next((i for i, ref in enumerate(refs) if ref.block == serial), None)
    return refs if index is None else [*refs[:index], *refs[index + 1 :]]


def places(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[tuple[str, Any]]:
    """The arguments and what an error calls them."""
    places = [(f"argument {index}", value) for index, value in enumerate(args)]
    return places + [(f"argument {key!r}", value) for key, value in kwargs.items()]


_HANDLERS: Final[dict[int, Callable[[Channel, list[Any]], None]]] = {
    wire.REPLY: Channel._reply,
    wire.FAILURE: Channel._failure,
    wire.STREAM: Channel._begin_stream,
    wire.ITEM: Channel._item,
    wire.SEGMENT: Channel._segment,
    wire.HELD: Channel._hold,
    wire.RELEASE: Channel._let_go,
    wire.PART: Channel._part,
    wire.SPILL: Channel._spilled,
    wire.PONG: Channel._nothing,
    wire.GONE: Channel._gone,
}
