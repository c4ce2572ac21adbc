"""The client's end of a session, without its socket: calls become frames, frames become results.

    begin() ── frames ──► (a driver sends)          `Session` blocks, `AsyncSession` awaits:
    feed()  ◄─ bytes, fds ── (a driver reads)        both drive this one class

A call's arrays lie in blocks of `requests` until its reply has come; results lie in `replies`, the
host's blocks, and go back with the next frame that leaves. Who calls `feed` has the reading for
itself; `begin` may be called by any number of threads at once.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Sequence
from sys import modules
from typing import Any, Final

from . import answers, tracing, wire
from .culprit import explain_call
from .decoder import Decoder
from .encoder import Encoder, ProxyBytes
from .errors import CannotCross, HostLost, ProtocolError
from .lent import Lent
from .link import close_all
from .marks import marked, outermost
from .memory import Owner
from .pending import Pending
from .results import Results
from .roots import Roots, drain
from .segment import Segment
from .tensor import Array, TensorRef

REQUEST_QUOTA: Final = 1 << 62  # the host decides how much a session may have
_ALONG: Final = 1024  # blocks given back with a call; more go ahead of it, or a short call could need room
_HANDLERS: Final = answers.HANDLERS

Loader = Callable[[list[Any]], Any]


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
        self.grown = grown
        self.requests = Owner(grow, REQUEST_QUOTA)
        self.replies = Results()
        self.lent = Lent(self.requests)
        self.pending: dict[int, Pending] = {}
        self.drops: deque[Any] = deque()
        self.fds: deque[int] = deque()
        self.lost: Exception | None = None
        self.traced = False  # whether the host takes the trace of a call
        # Of a host that ends in good order: the last call that it has taken in, and those of which it has begun none.
        self.taken: tuple[int, frozenset[int]] | None = None
        self.last = 0
        self.decoder = Decoder(self.replies, writable=True, proxy=load)
        self.parts = wire.Parts()
        self._framer = wire.Framer()
        self._numbers = itertools.count(1)
        self._proxy = proxy
        self._encoders: list[Encoder] = []

    # -- out ---------------------------------------------------------------------------------------

    def begin(
        self, pending: Pending, ident: Any, args: tuple[Any, ...], kwargs: dict[str, Any], timeout: float | None
    ) -> bytes:
        """The bytes of a call; ``pending`` is registered. Raises CannotCross with the culprit's path."""
        rid = pending.rid = self.last = next(self._numbers)
        encoder = self._encoders.pop() if self._encoders else Encoder(self, self._proxy)
        replies = self.replies
        released = replies.given_back() if replies.released or replies.views.dead else None
        ahead: list[int] | None = None
        if released is not None and len(released) > _ALONG:
            ahead, released = released, None
        try:
            listed = marked(args) if args else []
            named = {key: outermost(arg) for key, arg in kwargs.items()} if kwargs else kwargs
            message = [wire.CALL, rid, ident, pending.method, listed, named, timeout, released]
            trace = tracing.traceparent() if self.traced and tracing.API in modules else None
            if trace is not None:
                message += (pending.priority, trace)
            elif pending.priority:
                message.append(pending.priority)
            payload = encoder.pack(message)
            length = len(payload)
            short = length <= wire.SPILL_FROM
            data = length.to_bytes(wire.LENGTH, "little") + payload if short else encoder.long(rid, payload)
        except BaseException as exc:
            replies.released.extend(ahead or released or ())
            self.undo(encoder.refs)
            if isinstance(exc, CannotCross):
                raise explain_call(args, kwargs, self._proxy) from None
            raise
        pending.refs = encoder.refs
        if short:  # the encoder of a longer one keeps its large buffer, and goes
            self._encoders.append(encoder)
        self.pending[rid] = pending
        if released:
            pending.gave = released
        if self.drops or ahead:
            pending.told = self._told(ahead)
            return pending.told + data
        return data

    def withdraw(self, pending: Pending) -> bytes:
        """A call of which nothing was sent is undone; what is to be sent all the same."""
        self.pending.pop(pending.rid, None)
        self.undo(pending.refs)
        self.replies.released.extend(pending.gave)
        return pending.told

    def chores(self) -> bytes:
        """What is to be told to the host without a call: results given back, references dropped."""
        return self._told(self.replies.given_back())

    def _told(self, released: list[int] | None) -> bytes:
        return wire.frames([wire.RELEASE], released or []) + wire.frames([wire.DROP], drain(self.drops))

    def trim(self) -> bytes:
        """Give back room that nothing lies in; what is to be told to the host of it."""
        return wire.frames([wire.GONE], self.requests.trim())

    @property
    def room(self) -> int:
        """Bytes in the segments of both directions."""
        return self.requests.capacity + sum(segment.size for segment in list(self.replies.segments.values()))

    # -- arrays, as the encoder sees them --------------------------------------------------------------

    def find(self, array: Array) -> TensorRef | None:
        requests, views = self.requests, self.replies.views
        found = requests.find(array) if requests.roots.by_id else None
        return found or (views.find(array) if views.by_id else None)

    def place(self, nbytes: int) -> tuple[TensorRef, memoryview, bool] | None:
        return self.requests.place(nbytes)

    def undo(self, refs: Sequence[TensorRef]) -> None:
        """Their message is done with, or was not sent: one user of each block fewer."""
        if refs:
            self.requests.done(refs)

    # -- in ------------------------------------------------------------------------------------------

    def feed(self, data: bytes, fds: list[int]) -> None:
        """Take in what has come. Raises ProtocolError when the host breaks the rules."""
        if fds:
            self.fds.extend(fds)
        for payload in self._framer.feed(data):
            self.message(payload)

    def message(self, payload: Any) -> None:
        """Take in one message. Raises ProtocolError."""
        message = self.decoder.unpack(payload)
        try:
            _HANDLERS[message[0]](self, message)
        except KeyError:
            raise ProtocolError(f"a frame of unknown kind {message[0]} from the host") from None
        except (ValueError, TypeError, IndexError) as exc:
            raise ProtocolError(f"a malformed frame of kind {message[0]} from the host") from exc

    # -- the end -------------------------------------------------------------------------------------

    def lose(self, error: Exception) -> list[Pending]:
        """The session is over: every call ends with the error. They are returned."""
        if self.lost is None:
            self.lost = error
        ended = []
        while self.pending:
            _, pending = self.pending.popitem()
            lost = self.over()
            lost.request = pending.rid
            lost.begun = self.may_have_begun(pending.rid)
            pending.error = lost
            pending.done = True
            ended.append(pending)
        close_all(list(self.fds))
        self.fds.clear()
        return ended

    def over(self) -> HostLost:
        """That the session is over, as an error of its own for each who meets it."""
        return HostLost(str(self.lost or "the session is over"))

    def may_have_begun(self, rid: int) -> bool:
        """Whether a call may have, that was sent to a host which has ended."""
        return self.taken is None or (rid <= self.taken[0] and rid not in self.taken[1])

    def unsent(self) -> HostLost:
        """The error of a call that has not left: the session was over before it."""
        error = self.over()
        error.begun = False
        return error

    def forget(self) -> None:
        """In a forked child: nothing of this is its own, except the arrays that live."""
        self.lost = HostLost("this session belongs to the parent process")
        self.pending.clear()
        self.replies.segments.clear()
        self.requests.forget()

    @property
    def arrays(self) -> tuple[Roots, Roots]:
        """What lives in shared memory here: the caller's arguments and its results."""
        return self.requests.roots, self.replies.views
