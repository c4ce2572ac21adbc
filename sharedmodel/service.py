"""The server: one loop for all sessions, threads for what would hold it up.

    listening socket ─► sessions ─► loop ─┬─ quick methods run right here: no hop
                                          └─ the others on a worker thread   (see `turns`)

Before it sleeps the loop looks a few times for the next frame (see `patience`).
"""

from __future__ import annotations

import logging
import os
import select
import socket
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from . import heap, link
from .arrivals import Arrivals
from .board import Load
from .call import Call
from .control import Control
from .crossing import load_in_host, proxy_bytes
from .entry import Entry, Limits
from .errors import ProtocolError
from .loop import GO_ON
from .objects import Objects, Served
from .patience import Patience
from .peer import Peer
from .repeats import Repeats
from .roots import drain
from .turns import Turns
from .watched import Watched
from .workers import Workers

_HEARTBEAT: Final = 5.0
_WARN_AGAIN: Final = 60.0
_SLICE: Final = 0.5

logger = logging.getLogger("sharedmodel")


class Service:
    """Serves a table of objects on a listening socket."""

    def __init__(
        self,
        listener: socket.socket,
        objects: Objects,
        *,
        authkey: bytes | None = None,
        entry: Entry | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.listener = listener
        self.address: str = listener.getsockname()
        self.objects = objects
        self.limits = limits or Limits()
        self.workers = Workers()
        self.patient = Workers("sharedmodel-waiting")  # for a model to be loaded, or for a reader of items
        self.watched = Watched()
        self.peers = self.watched.peers
        self.info: dict[str, Any] = {}
        self.load: Load | None = None
        # A session of many threads and large results leaves hundreds of MB free in the heaps of these threads.
        self.when_idle: list[Callable[[], Any]] = [heap.trim]
        self.meter: Callable[[Call], None] | None = None  # hears of each call that has ended; it must be quick
        control = Served("", "host", Control(self), Control.EXPOSED)
        self.turns = Turns(objects, control, self.workers, self.patient, self.watched.standby, self._serve)
        self.loop = self.turns.loop
        self.stopped = self.loop.stopped
        self.arrivals = Arrivals(self, entry, authkey)
        self.enqueue = self.turns.calls.append  # takes a call in, on the loop's thread: it is dispatched next
        self._dead: deque[Any] = deque()
        self._idle_lap = 0
        self._next_beat = 0.0
        self._patience = Patience()
        self._warned: dict[str, float] = {}
        self.repeats = Repeats()
        self._closed = False

    # -- life ----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to serve, on threads of the service's own."""
        self.listener.setblocking(False)
        self.watched.listen(self.listener.fileno())
        abandon = weakref.WeakMethod(self._abandon)  # what is to be done at a fork is never forgotten
        os.register_at_fork(after_in_child=lambda: (found := abandon()) and found())
        self.loop.start()

    def serve_forever(self) -> None:
        """Serve until `stop` is called, then close. The process is the service's: its malloc is set up for it."""
        heap.settle()
        self.start()
        try:
            self.wait()
        finally:
            self.close()

    def wait(self) -> None:
        """Until `stop` is called."""
        # The kernel may give a signal to any thread; its handler runs when the main thread wakes next.
        while not self.stopped.wait(_SLICE):
            pass

    def stop(self) -> None:
        """Have `serve_forever` return. May be called from a signal handler and from any thread."""
        self.loop.stop()
        self.watched.ring()

    def close(self, timeout: float = 2.0) -> None:
        """End every session and wait for what runs, ``timeout`` seconds at most. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self.stop()
        self.patient.close(0)
        nobody_reads = self.workers.close(timeout)
        for peer in list(self.peers.values()):
            if nobody_reads:
                peer.farewell(self.turns.calls)
            peer.close()
        for text in self.repeats.overdue(all=True):
            logger.warning("%s", text)
        self.listener.close()
        self.watched.close()

    def _abandon(self) -> None:
        if not self._closed:
            self._closed = True
            self.watched.abandon()
            link.close_all([self.listener.detach()])

    # -- the loop --------------------------------------------------------------------------------------

    def _serve(self) -> int:
        """Serve what is ready. What has become of the loop meanwhile (see `loop`)."""
        peers, turns = self.peers, self.turns
        calls, dispatch = turns.calls, turns.dispatch
        while calls or turns.gathered:  # left by a thread that lost the loop over the one before
            if after := dispatch(calls.popleft()) if calls else turns.settle():
                return after
        knocked = False
        for fd, mask in self._events():
            if mask == select.EPOLLIN and (peer := peers.get(fd)) is not None:
                self._readable(peer)
            elif fd == self.listener.fileno():
                knocked = True  # for last: a new session may get a number that another event here still means
            else:
                self._event(fd, mask)
            while calls:
                if after := dispatch(calls.popleft()):
                    return after
        if knocked:
            self.arrivals.accept()
        return turns.settle() if turns.gathered else GO_ON

    def _events(self) -> list[tuple[int, int]]:
        poll = self.watched.poll
        start = time.perf_counter()
        # While a model is at work, the cores are its.
        for _ in range(0 if self.loop.others else self._patience.looks):
            if events := poll(0):
                break
        else:
            events = poll(_HEARTBEAT)
        now = time.perf_counter()
        self._patience.note(now - start)
        if now > self._next_beat:
            self._next_beat = now + _HEARTBEAT
            self._heartbeat(idle=not events)
        return events

    def _event(self, fd: int, mask: int) -> None:
        peer = self.peers.get(fd)
        if peer is not None:
            if mask & select.EPOLLHUP:  # calls of it may still be unread
                peer.outlet.give_up()
            if mask & select.EPOLLOUT:
                peer.outlet.flush()
                self.turns.calls.extend(peer.outlet.unpark())
                self.watched.update(peer)
            if mask & ~select.EPOLLOUT:
                self._readable(peer)
        elif (gone := self.watched.ended(fd)) is not None:
            self._end(gone, "")
        elif fd == self.watched.bell:
            os.eventfd_read(fd)
            self.workers.submit(self._bury)

    def _readable(self, peer: Peer) -> None:
        """Take in what a session has sent; what is wrong with it ends that session and touches no other."""
        try:
            if not peer.read():
                self._end(peer, "")
        except Exception as exc:
            self.fault(peer, exc)

    def fault(self, peer: Peer, exc: Exception) -> None:
        """End a session for something that went wrong in it."""
        if isinstance(exc, ProtocolError):
            self._end(peer, f"protocol error: {exc}")
        elif isinstance(exc, MemoryError):
            self._end(peer, "a frame that takes more memory than there is")
        else:
            self._end(peer, "a fault of the host", exc)

    def _end(self, peer: Peer, reason: str, exc: Exception | None = None) -> None:
        if not self.watched.remove(peer):
            return
        if reason and (text := self.repeats.hear(reason.partition(":")[0], f"{peer!r} is ended: {reason}")):
            logger.log(logging.WARNING if exc is None else logging.ERROR, "%s", text, exc_info=exc)
        self.workers.submit(peer.close, urgent=True)

    def _heartbeat(self, *, idle: bool) -> None:
        for text in self.repeats.overdue():
            logger.warning("%s", text)
        if idle:
            self._idle()
        for peer in list(self.peers.values()):
            peer.tidy()
            if not peer.greeted and peer.reception.late:
                self._end(peer, "it connected and said nothing")

    def _idle(self) -> None:
        """Nothing has come for a while: once, do what there is to do then."""
        if self.loop.lap != self._idle_lap and not self.loop.others:
            self._idle_lap = self.loop.lap
            for task in self.when_idle:
                self.workers.submit(task)

    # -- for sessions ------------------------------------------------------------------------------------

    def let_go(self, ident: Any, count: int) -> None:
        """References that a session had are gone. What dies of it dies on a worker: its end may take long."""
        last = [self.objects.decref(ident, count)]
        if last[0] is not None:
            self.workers.submit(last.clear)

    def let_go_later(self, ident: Any) -> None:
        """As `let_go`, from a finalizer: it runs at any moment, with any lock held, and takes none."""
        if not self._closed:
            self._dead.append(ident)
            self.watched.ring()

    def _bury(self) -> None:
        for ident in drain(self._dead):
            self.objects.decref(ident)

    def load_proxy(self, fields: list[Any]) -> Any:
        return load_in_host(self, fields)

    proxy_bytes = staticmethod(proxy_bytes)  # the other way

    def warn_once(self, key: str, text: str, again: float = _WARN_AGAIN) -> None:
        """A warning that would otherwise be repeated: once a minute, or in ``again`` seconds."""
        now = time.monotonic()
        if now - self._warned.get(key, -1e9) > again:
            self._warned[key] = now
            logger.warning("%s", text)
