"""The host's end of a session: the client's frames in, answers out, and all that hangs on the client.

When the socket ends, however it ends, `close` releases everything: calls are cancelled, references
dropped, segments given up. The loop thread reads; any thread may answer.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from . import failure, handshake, link, segment, wire
from .call import Call, Input, InputRef, let_go
from .codec import Decoder, Encoder
from .culprit import explain
from .errors import CannotCross, ProtocolError
from .marks import outermost
from .memory import FIRST_SEGMENT, Mapped, Owner
from .proxy import BaseProxy, ProxyRef, kind_of, proxy_bytes
from .roots import drain
from .tensor import Array, Layout, TensorRef

if TYPE_CHECKING:
    from .handshake import Reception
    from .service import Service

READ_SIZE: Final = 64 << 10
MAX_CALLS: Final = 4096  # calls of one session that may wait or run at once
BACKLOG_MOST: Final = 1 << 20  # unsent bytes above which a session's frames are left in its socket
DEFER_FROM: Final = 1 << 20  # a frame this long is unpacked off the loop
COPY_FROM: Final = 8 << 20  # and so is one with as much to be copied


class NotHere(ProtocolError):
    """To read this takes long, or waits for another host: not on the loop."""


class Peer:
    """One client."""

    def __init__(self, service: Service, sock: socket.socket, who: link.Peer, reception: Reception) -> None:
        self.service = service
        self.sock = sock
        self.fd = sock.fileno()
        self.who = who
        self.reception = reception
        self.foreign = who.uid != os.geteuid()
        self.lock = threading.Lock()
        self.closed = False
        self.greeted = False
        self.shared_memory = True
        self.pidfd = -1
        self.calls: dict[int, Call] = {}
        self.refs: dict[Any, int] = {}
        self.requests = Mapped()
        self.replies = Owner(self._grow_replies, service.limits.reply_quota, lends=True)
        self.request_bytes = 0
        self.unsent = 0
        self._parked: list[Call] = []
        self._outbox: deque[tuple[memoryview, tuple[int, ...]]] = deque()
        self._framer = wire.Framer()
        self._parts = wire.Parts(service.limits.payload)
        self._decoder = Decoder(self, writable=False, proxy=self._load_proxy)
        self._spilled = False
        self._encoders: list[Encoder] = []
        self._inputs: list[Input] = []
        self._let_go: deque[int] = deque()
        self._kept: dict[int, InputRef] = {}
        self._last = self._tidied = 0
        self._tickets = itertools.count(1)
        self._numbers = itertools.count(1)

    def __repr__(self) -> str:
        return f"session of pid {self.who.pid} (uid {self.who.uid})"

    # -- in ------------------------------------------------------------------------------------------

    def read(self) -> bool:
        """Take in what has come, calls into the service's queue. False at the end of the connection.

        Raises ProtocolError when the client breaks the rules.
        """
        try:
            data = self.sock.recv(READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        for payload in self._framer.feed(data):
            self.message(payload)
        return bool(data)

    def message(self, payload: Any) -> None:
        try:
            message = self._decoder.unpack(payload) if self.greeted else handshake.read(payload)
        except NotHere:
            self._inputs = []
            self._defer(payload)
            return
        try:
            if self.greeted:
                _HANDLERS[message[0]](self, message)
            else:
                self.service.greet(self, message)
        except KeyError:
            raise ProtocolError(f"a frame of unknown kind {message[0]}") from None
        except (ValueError, TypeError, IndexError, OverflowError) as exc:
            raise ProtocolError(f"a malformed frame of kind {message[0]}: {exc}") from exc

    def _call(self, message: list[Any]) -> None:
        inputs, self._inputs = self._inputs, []
        self.service.enqueue(self._taken(message, inputs, self._decoder.problem))

    def _taken(self, message: list[Any], inputs: list[Input], problem: Exception | None) -> Call:
        call = Call(self, message, inputs, problem)
        if message[7] is not None:
            self._take_back(message[7])
        if call.rid in self.calls or len(self.calls) >= MAX_CALLS:
            raise ProtocolError(f"request {call.rid}: already under way, or more than {MAX_CALLS} at once")
        self.calls[call.rid] = call
        if (load := self.service.load) is not None:
            load.add(1)
        self._last = call.rid
        return call

    def _cancel(self, message: list[Any]) -> None:
        if (call := self.calls.get(message[1])) is not None:
            call.cancel()

    def _credit(self, message: list[Any]) -> None:
        call = self.calls.get(message[1])
        if call is not None and call.credit is not None:
            if type(message[2]) is not int:
                raise TypeError("credit")
            call.credit.release(message[2])

    def _release(self, message: list[Any]) -> None:
        self._take_back(message[1])

    def _take_back(self, serials: list[int]) -> None:
        for serial in serials:
            self.replies.take_back(serial)

    def _drop(self, message: list[Any]) -> None:
        for ident in message[1]:
            if type(ident) is list and ident[:1] == ["stream"]:
                self._cancel(ident)
            elif self.refs.get(ident, 0) > 0:
                self.unref(ident)

    def _part(self, message: list[Any]) -> None:
        if (payload := self._parts.add(message)) is not None:
            self._defer(payload)

    def _spill(self, message: list[Any]) -> None:
        ref = TensorRef.unpack(message[2], 0)
        if self._spilled:
            raise ProtocolError("a frame in shared memory that refers to another")
        if ref.nbytes > self.service.limits.payload:
            raise ProtocolError(f"a frame of {ref.nbytes} bytes in shared memory")
        if ref.nbytes > DEFER_FROM and self.requests.checked(ref):
            self._defer(ref)
            return
        self._spilled = True
        try:
            self.message(self.take(ref))
        finally:
            self._spilled = False

    def _defer(self, payload: Any) -> None:
        # Unpacking it may take long: other sessions must not wait for it.
        self.background(lambda: self._deferred(payload))

    def _deferred(self, payload: Any) -> None:
        aside = _Aside(self)
        try:
            message = aside.decoder.unpack(aside.take(payload) if type(payload) is TensorRef else payload)
            if message[0] != wire.CALL:
                raise ProtocolError(f"a frame of kind {message[0]} in pieces")
            call = self._taken(message, aside.inputs, aside.decoder.problem)
        except (ValueError, TypeError, IndexError, OverflowError) as exc:
            self.service.fault(self, ProtocolError(f"a malformed frame in pieces: {exc}"))
        except Exception as exc:
            self.service.fault(self, exc)
        else:
            self.service.run_here(call)

    def _ping(self, message: list[Any]) -> None:
        self.send(wire.frame([wire.PONG, message[1]]))

    # -- arrays, as the encoder and the decoder see them ---------------------------------------------

    def find(self, array: Array) -> TensorRef | None:
        return self.replies.find(array)

    def place(self, nbytes: int) -> tuple[TensorRef, memoryview, bool] | None:
        return self.replies.place(nbytes) if self.shared_memory else None

    def empty(self, shape: Any, dtype: Any, order: Any) -> Array | None:
        if not self.shared_memory or self.replies.live_bytes > self.replies.quota:
            return None  # past the quota it is made and copied out as any other
        return self.replies.empty(shape, dtype, order)

    def view(self, ref: TensorRef, layout: Layout, copy_out: bool) -> Array:
        if self.foreign and ref.nbytes > COPY_FROM:
            raise NotHere("an array that is to be copied")
        return self.view_into(ref, layout, self._inputs)

    def view_into(self, ref: TensorRef, layout: Layout, inputs: list[Input]) -> Array:
        """The caller's array, read-only. Another user's is copied first: it might change under us."""
        segment = self.requests.segments.get(ref.segment)
        if segment is None:
            return self.replies.view_back(ref, layout)
        if ref.offset + ref.nbytes > segment.size:
            raise ProtocolError(f"{ref} lies outside the session's segments")
        array: Array = np.ndarray(layout.shape, layout.dtype, segment.map, ref.offset, None, layout.order)
        if self.foreign:
            array = array.copy(layout.order)
            array.flags.writeable = False
        else:  # read-only by its mapping
            inputs.append((ref.block, weakref.ref(array)))
        return array

    def watch_input(self, array: Array) -> int:
        """A ticket for a view that the model kept: it is in `_let_go` once the view is gone."""
        ref = InputRef(array, let_go)
        ref.sink = self._let_go
        ref.ticket = next(self._tickets)
        self._kept[ref.ticket] = ref
        return ref.ticket

    def take(self, ref: TensorRef) -> bytes:
        if ref.nbytes > COPY_FROM and self.requests.checked(ref):
            raise NotHere("bytes that are to be copied")
        return self.requests.bytes(ref)

    def _load_proxy(self, fields: list[Any]) -> Any:
        if len(fields) == 5 and fields[1] != self.service.address:
            raise NotHere("a proxy of another host, which is to be asked")
        return self.service.load_proxy(fields)

    def add_requests(self, nbytes: int) -> int | None:
        """A further segment for the client's arrays, sent to it; None when it may have no more."""
        nbytes = max(nbytes, FIRST_SEGMENT)  # or a million small ones would use up the maps of the process
        limit = self.service.limits.request_bytes
        if not self.shared_memory or self.request_bytes + nbytes > limit:
            return None
        made = self._make_segment(nbytes, of_requests=True)
        if made is not None:
            number, added = made
            self.requests.add(number, added)
            if self.closed:  # meanwhile: `close` has not seen this one
                self.requests.segments.clear()
            self.request_bytes += added.size
            return number
        return None

    def _gone(self, message: list[Any]) -> None:
        for number in message[1]:
            self.request_bytes -= self.requests.segments.pop(number).size

    def tidy(self) -> None:
        """Give back room for replies if no call has come since the last time."""
        if self._last != self._tidied:
            self._tidied = self._last
            return
        if self._let_go:
            self.send(self._let_go_frame())
        if not self.calls and (gone := self.replies.trim()):
            self.send(wire.frame([wire.GONE, gone]))

    def _grow_replies(self, nbytes: int) -> tuple[int, segment.Segment] | None:
        return self._make_segment(nbytes, of_requests=False)

    def _make_segment(self, nbytes: int, *, of_requests: bool) -> tuple[int, segment.Segment] | None:
        kind = "memfd" if self.foreign else "shm"
        try:
            made = segment.create(nbytes, self.service.limits.kind or kind, writable=not of_requests)
            theirs = os.dup(made.fd)
        except (OSError, MemoryError) as exc:
            self.service.warn_once("memory", f"no shared memory for {nbytes} bytes: {exc}; they go in frames")
            return None
        number = next(self._numbers)
        self.send(wire.frame([wire.SEGMENT, number, made.size, made.kind, of_requests]), (theirs,))
        made.close()
        return number, made

    # -- out -----------------------------------------------------------------------------------------

    def packed(self, call: Call, value: Any) -> bytes:
        """A call's result as it is sent. Raises CannotCross, which is then the error of the call."""
        return self._pack(wire.REPLY, call, value)

    def answer(self, call: Call, data: bytes) -> None:
        """Send a packed result, and with it which arguments the model still refers to."""
        held = call.held() if call.inputs else None
        if held:
            data = wire.frame([wire.HELD, call.rid, held]) + data
        self._finish(call, data)

    def fail(self, call: Call, exc: BaseException) -> None:
        data = wire.frame([wire.FAILURE, call.rid, *failure.to_wire(exc)])
        _forget_frames(exc)  # they hold views of the caller's memory
        if call.inputs and (held := call.held()):
            data = wire.frame([wire.HELD, call.rid, held]) + data
        self._finish(call, data)

    def _finish(self, call: Call, data: bytes) -> None:
        self._ended(call)
        if self._let_go:
            data = self._let_go_frame() + data
        self.send(data)

    def _ended(self, call: Call) -> None:
        if self.calls.pop(call.rid, None) is not None and (load := self.service.load) is not None:
            load.add(-1)

    def _let_go_frame(self) -> bytes:
        tickets = drain(self._let_go)
        for ticket in tickets:
            self._kept.pop(ticket, None)
        return wire.frame([wire.RELEASE, tickets])

    def begin_stream(self, call: Call) -> None:
        self.send(wire.frame([wire.STREAM, call.rid]))

    def item(self, call: Call, value: Any) -> None:
        self.send(self._pack(wire.ITEM, call, value))

    def _pack(self, kind: int, call: Call, value: Any) -> bytes:
        encoder = self._encoders.pop() if self._encoders else Encoder(self, self._proxy_bytes)
        try:
            payload = encoder.pack([kind, call.rid, outermost(value)])
        except CannotCross:
            self.undo(encoder.refs)
            place = f"the result of {call.method}()"
            raise explain([(place, value)], proxy_bytes) from None
        except BaseException:
            self.undo(encoder.refs)
            raise
        spills = len(payload) > wire.SPILL_FROM
        data = self._long(call.rid, payload, encoder) if spills else wire.framed(payload)
        if len(payload) <= wire.SPILL_FROM:  # a larger one's encoder keeps its buffer
            self._encoders.append(encoder)
        return data

    def _long(self, rid: int, payload: bytes, encoder: Encoder) -> bytes:
        placed = self.place(len(payload))
        if placed is None:
            if len(payload) <= wire.MAX_FRAME:
                return wire.framed(payload)
            return b"".join(wire.parts(rid, payload))
        ref, buffer, _ = placed
        buffer[: len(payload)] = payload
        encoder.refs.append(ref)
        return wire.frame([wire.SPILL, rid, ref.pack()])

    def undo(self, refs: list[TensorRef]) -> None:
        """Their message was not sent."""
        for ref in refs:
            self.replies.take_back(ref.block)

    def send(self, data: bytes, fds: tuple[int, ...] = ()) -> None:
        """Send now what the socket takes, the rest when it takes more. Never blocks, never raises."""
        with self.lock:
            if self.closed:
                link.close_all(list(fds))
                return
            if not self._outbox:
                sent = self._try_send(data, fds)
                if sent == len(data):
                    return
                data, fds = data[sent:], fds if not sent else ()
            self._outbox.append((memoryview(data), fds))
            self.unsent += len(data)
        self.service.watch(self)

    def _try_send(self, data: Any, fds: tuple[int, ...]) -> int:
        try:
            sent = link.send(self.sock, data, fds) if fds else self.sock.send(data)
        except BlockingIOError:
            return 0
        except OSError:  # the end of the connection is the reader's to see
            sent = len(data)
            with contextlib.suppress(OSError):  # also where it has not ended yet: an answer must not just be missing
                self.sock.shutdown(socket.SHUT_RDWR)
        if fds:
            link.close_all(list(fds))
        return sent

    def park(self, call: Call) -> bool:
        """Keep a call until the client has read what it was sent; whether that has to be waited for."""
        if self.unsent < BACKLOG_MOST:
            return False
        with self.lock:
            if self.unsent < BACKLOG_MOST:
                return False
            self._parked.append(call)
            return True

    def unpark(self) -> list[Call]:
        """The calls that need not wait any more."""
        with self.lock:
            calls: list[Call] = []
            if self.unsent < BACKLOG_MOST:
                calls, self._parked = self._parked, calls
            return calls

    def flush(self) -> None:
        """The socket takes more again."""
        with self.lock:
            while self._outbox and not self.closed:
                data, fds = self._outbox[0]
                sent = self._try_send(data, fds)
                self.unsent -= sent
                if sent < len(data):
                    self._outbox[0] = (data[sent:], fds if not sent else ())
                    return
                self._outbox.popleft()

    # -- references ----------------------------------------------------------------------------------

    def ref(self, ident: Any) -> None:
        """Note a reference that the table has counted already."""
        with self.lock:
            if not self.closed:
                self.refs[ident] = self.refs.get(ident, 0) + 1
                return
        self.service.let_go(ident, 1)

    def unref(self, ident: Any) -> None:
        with self.lock:
            left = self.refs[ident] - 1
            if left:
                self.refs[ident] = left
            else:
                del self.refs[ident]
        self.service.let_go(ident, 1)

    def _proxy_bytes(self, value: Any) -> bytes | None:
        """A proxy on its way to the client; one of this host's objects takes its reference along."""
        packed = proxy_bytes(value)
        if packed is not None and isinstance(value, BaseProxy) and value._token.address == self.service.address:
            self.ref(self.service.objects.incref(value._token.id).ident)
        return packed

    def as_proxy(self, typeid: str, value: Any) -> ProxyRef:
        """Serve a result under a typeid, made by its callable if it has one; the client gets a proxy."""
        served, exposed = self.service.objects.create(typeid, (value,), {})
        self.ref(served.ident)
        kind = kind_of(self.service.objects.registry[typeid].proxytype)
        return ProxyRef(typeid, self.service.address, served.ident, exposed, kind)

    # -- the end -------------------------------------------------------------------------------------

    def background(self, task: Callable[[], Any]) -> None:
        self.service.workers.submit(task)

    def close(self) -> None:
        """Release everything. Idempotent."""
        with self.lock:
            if self.closed:
                return
            self.closed = True
            refs, self.refs = self.refs, {}
            parked, self._parked = self._parked, []
            for _, fds in self._outbox:
                link.close_all(list(fds))
            self._outbox.clear()
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)
        for call in list(self.calls.values()):
            call.cancel()
        for call in parked:
            self._ended(call)
        for ident, count in refs.items():
            self.service.let_go(ident, count)
        self.requests.segments.clear()
        self.replies.close()


def _forget_frames(exc: BaseException | None) -> None:
    seen = set()
    while exc is not None and id(exc) not in seen:
        seen.add(id(exc))
        exc.__traceback__ = None
        exc = exc.__cause__ or exc.__context__


class _Aside:
    """A decoder of its own for a long payload, so that the loop's stays free."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self.inputs: list[Input] = []
        self.decoder = Decoder(self, writable=False, proxy=peer.service.load_proxy)

    def view(self, ref: TensorRef, layout: Layout, copy_out: bool) -> Array:
        return self._peer.view_into(ref, layout, self.inputs)

    def take(self, ref: TensorRef) -> bytes:
        return self._peer.requests.bytes(ref)


_HANDLERS: Final[dict[int, Callable[[Peer, list[Any]], None]]] = {
    wire.CALL: Peer._call,
    wire.CANCEL: Peer._cancel,
    wire.RELEASE: Peer._release,
    wire.CREDIT: Peer._credit,
    wire.PING: Peer._ping,
    wire.DROP: Peer._drop,
    wire.PART: Peer._part,
    wire.SPILL: Peer._spill,
    wire.GONE: Peer._gone,
}
