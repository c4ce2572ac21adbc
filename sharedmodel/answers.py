"""What each kind of frame from the host does.

    REPLY FAILURE           a call has ended
    STREAM ITEM             its result comes item by item
    SEGMENT GONE            a segment is there, needs to be mapped no more
    GOODBYE                 the host ends, and has not taken in what came last
    HELD RELEASE            arguments that a model keeps, and that it has let go
    PART SPILL              a longer frame, in pieces or in shared memory
    PONG

A malformed frame raises ValueError, TypeError, IndexError, KeyError or ProtocolError; `Channel.feed` makes
one error of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from . import failure, wire
from .errors import CannotCross, ProtocolError
from .segment import FROZEN, Segment
from .tensor import TensorRef

if TYPE_CHECKING:
    from .channel import Channel


def _reply(channel: Channel, message: list[Any]) -> None:
    problem = channel.decoder.problem
    _finish(channel, message[1], message[2], None if problem is None else CannotCross(str(problem)))


def _failure(channel: Channel, message: list[Any]) -> None:
    _finish(channel, message[1], None, failure.from_wire(message[2:]))


def _finish(channel: Channel, rid: int, value: Any, error: Exception | None) -> None:
    pending = channel.pending.pop(rid, None)
    if pending is None:
        return
    if pending.refs:
        if channel.lent.held:
            pending.refs = channel.lent.without_held(rid, pending.refs)
        channel.requests.done(pending.refs)
    pending.value = value
    pending.error = error
    pending.done = True
    pending.news()


def _begin_stream(channel: Channel, message: list[Any]) -> None:
    if (pending := channel.pending.get(message[1])) is not None:
        pending.stream = deque()
        pending.news()


def _item(channel: Channel, message: list[Any]) -> None:
    pending = channel.pending.get(message[1])
    if pending is not None and pending.stream is not None:
        if (problem := channel.decoder.problem) is not None:
            channel.drops.append(("stream", pending.rid))
            _finish(channel, pending.rid, None, CannotCross(str(problem)))
            return
        pending.stream.append(message[2])
        pending.news()


def _segment(channel: Channel, message: list[Any]) -> None:
    _, number, size, kind, of_requests = message
    if not channel.fds:
        raise ProtocolError("a segment was announced without its descriptor")
    segment = Segment(channel.fds.popleft(), size, kind, writable=kind != FROZEN)
    if of_requests:
        channel.requests.add(number, segment)
    else:
        channel.replies.add(number, segment)
    channel.grown()


def _gone(channel: Channel, message: list[Any]) -> None:
    for number in message[1]:
        channel.replies.segments.pop(number, None)


def _hold(channel: Channel, message: list[Any]) -> None:
    channel.lent.hold(message[1], message[2])


def _let_go(channel: Channel, message: list[Any]) -> None:
    channel.lent.let_go(message[1])


def _part(channel: Channel, message: list[Any]) -> None:
    if (payload := channel.parts.add(message)) is not None:
        channel.message(payload)


def _spilled(channel: Channel, message: list[Any]) -> None:
    channel.message(channel.replies.take(TensorRef.unpack(message[2], 0)))


def _nothing(channel: Channel, message: list[Any]) -> None:
    pass


def _goodbye(channel: Channel, message: list[Any]) -> None:
    channel.taken = int(message[1]), frozenset(message[2])


HANDLERS: Final[dict[int, Callable[[Channel, list[Any]], None]]] = {
    wire.REPLY: _reply,
    wire.FAILURE: _failure,
    wire.STREAM: _begin_stream,
    wire.ITEM: _item,
    wire.SEGMENT: _segment,
    wire.HELD: _hold,
    wire.RELEASE: _let_go,
    wire.PART: _part,
    wire.SPILL: _spilled,
    wire.PONG: _nothing,
    wire.GONE: _gone,
    wire.GOODBYE: _goodbye,
}
