"""The host's end of a session: the client's frames in, answers out, and all that hangs on the client.

    frames ─► read ─► message ─┬─► `incoming`: what each kind does ─► the service's queue
                               └─► aside, where unpacking takes long
    answers ◄─ outlet ◄─ packed / answer / fail ◄─ `Call`

When the socket ends, however it ends, `close` releases everything: calls are cancelled, references
dropped, segments given up. The loop thread reads; any thread may answer.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from . import failure, handshake, incoming, link, wire
from .call import Call
from .culprit import explain
from .encoder import Encoder
from .errors import CannotCross, ProtocolError
from .kept import Kept
from .marks import outermost
from .order import Order
from .outlet import Outlet
from .references import References
from .room import Room
from .unpacking import NotHere, OnLoop

if TYPE_CHECKING:
    from .handshake import Reception
    from .service import Service

_HANDLERS: Final = incoming.HANDLERS


class Peer:
    """One client."""

    def __init__(
        self, service: Service, sock: socket.socket, who: link.Peer, reception: Reception, number: int = 0
    ) -> None:
        """``number`` tells it from the host's other sessions, also those that have ended."""
        self.service = service
        self.number = number
        self.sock = sock
        self.fd = sock.fileno()
        self.pidfd = -1
        self.who = who
        self.reception = reception
        self.foreign = who.uid != os.geteuid()
        self.greeted = False
        self.closed = False
        self.lock = threading.Lock()  # of `closed`, of `streams` and of the callbacks of calls
        self.calls: dict[int, Call] = {}
        self.streams = 0
        self.last = 0
        self.outlet = Outlet(sock, lambda: service.watched.update(self))
        self.room = Room(service.limits, self.foreign, self.outlet.send, service.warn_once)
        self.refs = References(service)
        self.kept = Kept()
        self.onloop = OnLoop(self.room, service.load_proxy, service.address)
        self.parts = wire.Parts(service.limits.payload)
        self.order = Order()
        self.spilled = False
        self._framer = wire.Framer()
        self._encoders: list[Encoder] = []
        self._tidied = 0

    def __repr__(self) -> str:
        return f"session of pid {self.who.pid} (uid {self.who.uid})"

    # -- in ------------------------------------------------------------------------------------------

    def read(self) -> bool:
        """Take in what has come, calls into the service's queue. False at the end of the connection.

        Raises ProtocolError when the client breaks the rules.
        """
        try:
            data = self.sock.recv(link.READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        for payload in self._framer.feed(data):
            self.message(payload)
        return bool(data)

    def message(self, payload: Any) -> None:
        """Take in one message. Raises ProtocolError."""
        try:
            message = self.onloop.decoder.unpack(payload) if self.greeted else handshake.read(payload)
        except NotHere:
            self.onloop.inputs = []
            incoming.defer(self, payload)
            return
        try:
            if self.greeted:
                _HANDLERS[message[0]](self, message)
            else:
                self.service.arrivals.greet(self, message)
        except KeyError:
            raise ProtocolError(f"a frame of unknown kind {message[0]}") from None
        except (ValueError, TypeError, IndexError, OverflowError) as exc:
            raise ProtocolError(f"a malformed frame of kind {message[0]}: {exc}") from exc

    # -- out -----------------------------------------------------------------------------------------

    def answer(self, call: Call, data: bytes) -> None:
        """Send a packed result, and with it which arguments the model still refers to."""
        if call.inputs:
            data = self.kept.held(call.rid, call.inputs) + data
        self._ended(call)
        if self.kept.let_go:
            data = self.kept.released() + data
        self.outlet.send(data)

    def fail(self, call: Call, exc: BaseException) -> None:
        """Send an exception instead."""
        data = wire.frame([wire.FAILURE, call.rid, *failure.to_wire(exc)])
        failure.forget_frames(exc)  # they hold views of the caller's memory
        self.answer(call, data)

    def _ended(self, call: Call) -> None:
        if self.calls.pop(call.rid, None) is None:
            return
        service = self.service
        if service.load is not None:
            service.load.add(-1)
        if service.meter is not None:
            service.meter(call)

    def begin_stream(self, call: Call) -> None:
        self.outlet.send(wire.frame([wire.STREAM, call.rid]))

    def item(self, call: Call, value: Any) -> None:
        self.outlet.send(self.packed(call, value, wire.ITEM))

    def packed(self, call: Call, value: Any, kind: int = wire.REPLY) -> bytes:
        """A call's result, or an item of it, as it is sent. Raises CannotCross, which is then the error of the call."""
        encoder = self._encoders.pop() if self._encoders else Encoder(self.room, self.refs.proxy_bytes)
        try:
            payload = encoder.pack([kind, call.rid, outermost(value)])
        except CannotCross:
            self.room.undo(encoder.refs)
            place = f"the result of {call.method}()"
            raise explain([(place, value)], self.service.proxy_bytes) from None
        except BaseException:
            self.room.undo(encoder.refs)
            raise
        length = len(payload)
        if length > wire.SPILL_FROM:  # its encoder keeps its large buffer, and goes
            return encoder.long(call.rid, payload)
        self._encoders.append(encoder)
        return length.to_bytes(wire.LENGTH, "little") + payload

    # -- the end -------------------------------------------------------------------------------------

    def tidy(self) -> None:
        """Give back room for replies if no call has come since the last time."""
        if self.last != self._tidied:
            self._tidied = self.last
            return
        if self.kept.let_go:
            self.outlet.send(self.kept.released())
        if not self.calls:
            self.room.trim()

    def background(self, task: Callable[[], Any]) -> None:
        self.service.workers.submit(task)

    def patiently(self, task: Callable[[], Any]) -> None:
        """Run what waits for long, on a thread of its own."""
        self.service.patient.submit(task, urgent=True)

    def farewell(self, waiting: Iterable[Call]) -> None:
        """The host ends and reads no more: say which calls it has begun; any other may be sent again.

        ``waiting``: what it has read, of any session, and not begun.
        """
        if self.reception.who.get("goodbye") is True:
            rids = [call.rid for call in waiting if call.peer is self]
            self.outlet.send(wire.frame([wire.GOODBYE, self.last, rids]))

    def close(self) -> None:
        """Release everything. Idempotent."""
        with self.lock:
            if self.closed:
                return
            self.closed = True
        parked = self.outlet.close()
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)
        for call in list(self.calls.values()):
            call.cancel()
        for call in parked:
            self._ended(call)
        self.refs.close()
        self.room.close()
