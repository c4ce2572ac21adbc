"""What each kind of frame from a client does.

    CALL CANCEL CREDIT      a call begins, is given up, may send further items
    RELEASE DROP GONE       blocks, references and segments that the client needs no more
    PART SPILL              a longer frame, in pieces or in shared memory
    PING

A malformed frame raises ValueError, TypeError, IndexError, KeyError or ProtocolError; `Peer.message` ends the
session for it. All of this runs on the loop, except what is deferred, and what must not overtake that (see `order`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from . import wire
from .call import Call
from .errors import Overloaded, ProtocolError
from .kept import Input
from .tensor import TensorRef
from .unpacking import Aside

if TYPE_CHECKING:
    from .peer import Peer

MAX_CALLS: Final = 4096  # calls of one session that may wait or run at once
_SOON: Final = 0.1  # seconds after which one that had too many may try again
DEFER_FROM: Final = 1 << 20  # a frame this long is unpacked off the loop


def _call(peer: Peer, message: list[Any]) -> None:
    onloop = peer.onloop
    inputs, onloop.inputs = onloop.inputs, []
    if (call := _taken(peer, message, inputs, onloop.decoder.problem)) is not None:
        peer.service.enqueue(call)


def _taken(peer: Peer, message: list[Any], inputs: list[Input], problem: Exception | None) -> Call | None:
    call = Call(peer, message, inputs, problem)
    if message[7] is not None:
        peer.order.after(partial(peer.room.take_back, message[7]))
    if call.rid in peer.calls:
        raise ProtocolError(f"request {call.rid}: already under way")
    if len(peer.calls) >= MAX_CALLS:
        call.fail(Overloaded(f"{MAX_CALLS} calls of this session are under way; try again in {_SOON} s", _SOON))
        return None
    peer.calls[call.rid] = call
    if (load := peer.service.load) is not None:
        load.add(1)
    peer.last = max(peer.last, call.rid)  # threads of a client may send in another order than they number
    return call


def _cancel(peer: Peer, message: list[Any]) -> None:
    if message[1] in peer.calls:
        _give_up(peer, message[1])
    else:
        peer.order.after(partial(_give_up, peer, message[1]))


def _give_up(peer: Peer, rid: int) -> None:
    if (call := peer.calls.get(rid)) is not None:
        call.cancel()


def _credit(peer: Peer, message: list[Any]) -> None:
    call = peer.calls.get(message[1])
    if call is not None and call.credit is not None:
        if type(message[2]) is not int:
            raise TypeError("credit")
        try:
            call.credit.release(message[2])
        except ValueError:  # more than the window holds
            if not call.cancelled:  # which opened it once more
                raise


def _release(peer: Peer, message: list[Any]) -> None:
    peer.order.after(partial(peer.room.take_back, message[1]))


def _drop(peer: Peer, message: list[Any]) -> None:
    peer.order.after(partial(_let_go, peer, message[1]))


def _let_go(peer: Peer, idents: list[Any]) -> None:
    for ident in idents:
        if type(ident) is list and ident[:1] == ["stream"]:
            _cancel(peer, ident)
        else:
            peer.refs.drop(ident)


def _gone(peer: Peer, message: list[Any]) -> None:
    peer.room.give_up(message[1])


def _part(peer: Peer, message: list[Any]) -> None:
    if (payload := peer.parts.add(message)) is not None:
        defer(peer, payload)


def _spill(peer: Peer, message: list[Any]) -> None:
    ref = TensorRef.unpack(message[2], 0)
    if peer.spilled:
        raise ProtocolError("a frame in shared memory that refers to another")
    if ref.nbytes > peer.service.limits.payload:
        raise ProtocolError(f"a frame of {ref.nbytes} bytes in shared memory")
    if ref.nbytes > DEFER_FROM and peer.room.requests.checked(ref):
        defer(peer, ref)
        return
    peer.spilled = True
    try:
        peer.message(peer.onloop.take(ref))
    finally:
        peer.spilled = False


def _ping(peer: Peer, message: list[Any]) -> None:
    peer.outlet.send(wire.frame([wire.PONG, message[1]]))


def defer(peer: Peer, payload: Any) -> None:
    """Have a payload unpacked, and its call run, on a worker: other sessions must not wait for it."""
    number = peer.order.begin()
    peer.background(lambda: _deferred(peer, payload, number))


def _deferred(peer: Peer, payload: Any, number: int) -> None:
    call = None
    try:
        try:
            call = _unpacked(peer, payload)
        finally:
            for task in peer.order.end(number):
                task()
    except (ValueError, TypeError, IndexError, OverflowError) as exc:
        peer.service.fault(peer, ProtocolError(f"a malformed frame, or one after it: {exc}"))
    except Exception as exc:
        peer.service.fault(peer, exc)
    if call is not None:
        peer.service.turns.run_here(call)


def _unpacked(peer: Peer, payload: Any) -> Call | None:
    aside = Aside(peer.room, peer.service.load_proxy)
    message = aside.unpack(payload)
    if message[0] != wire.CALL:
        raise ProtocolError(f"a frame of kind {message[0]} in pieces")
    return _taken(peer, message, aside.inputs, aside.decoder.problem)


HANDLERS: Final[dict[int, Callable[[Peer, list[Any]], None]]] = {
    wire.CALL: _call,
    wire.CANCEL: _cancel,
    wire.RELEASE: _release,
    wire.CREDIT: _credit,
    wire.PING: _ping,
    wire.DROP: _drop,
    wire.PART: _part,
    wire.SPILL: _spill,
    wire.GONE: _gone,
}
