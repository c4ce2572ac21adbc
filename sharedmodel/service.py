"""The server: one loop for all sessions, threads for what would hold it up.

    listening socket ─► sessions ─► loop ─┬─ quick methods run right here: no hop
                                          └─ the others on a worker thread

A method is quick when its last runs took less than 0.2 ms. One that is not, this time (it blocks, it
waits for a lock), does not stop the host: the monitor sees the loop stand still, gives it to another
thread within milliseconds, and the first thread goes on as a mere worker.

Before it sleeps the loop looks a few times for the next frame (see `patience`).
"""

from __future__ import annotations

import errno
import logging
import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from . import failure, handshake, link, wire
from .board import Load
from .call import Call
from .control import CONTROL, Control
from .entry import Entry, Limits
from .errors import NotPermitted, ProtocolError
from .objects import Objects, Served
from .patience import Patience
from .peer import BACKLOG_MOST, Peer
from .proxy import load_in_host
from .roots import drain
from .workers import Workers

QUICK: Final = 200e-6
STANDSTILL: Final = 4e-3
_QUIET: Final = 25  # ticks of the monitor without a call, after which it sleeps until there is one
_HEARTBEAT: Final = 5.0
_AFTER_FAULT: Final = 0.05
_IN: Final = select.EPOLLIN | select.EPOLLRDHUP

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
        self.peers: dict[int, Peer] = {}
        self.info: dict[str, Any] = {}
        self.stopped = threading.Event()
        self.load: Load | None = None
        self.when_idle: list[Callable[[], Any]] = []
        self._authkey = authkey
        self._entry = entry or Entry(frozenset({os.geteuid()}))
        self._control = Served("", "host", Control(self), Control.EXPOSED)
        self._calls: deque[Call] = deque()
        self._dead: deque[Any] = deque()
        self._epoll = select.epoll()
        self._pidfds: dict[int, Peer] = {}
        self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._lead_lock = threading.Lock()
        self._running: Call | None = None
        self._started = 0.0
        self._lap = 0
        self._idle_lap = 0
        self._next_beat = 0.0
        self._monitor_wake = threading.Event()
        self._monitor_sleeps = False
        self._patience = Patience()
        self._warned: dict[str, float] = {}
        self._closed = False

    # -- life ----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to serve, on threads of the service's own."""
        self.listener.setblocking(False)
        self._epoll.register(self.listener.fileno(), select.EPOLLIN)
        self._epoll.register(self._wake_fd, select.EPOLLIN)
        os.register_at_fork(after_in_child=self._abandon)
        threading.Thread(target=self._monitor, name="sharedmodel-monitor", daemon=True).start()
        self.workers.submit(self._lead)

    def serve_forever(self) -> None:
        """Serve until `stop` is called, then close."""
        self.start()
        try:
            # In slices, so that signal handlers of the main thread run soon on every platform.
            while not self.stopped.wait(60):
                pass
        finally:
            self.close()

    def stop(self) -> None:
        """Have `serve_forever` return. May be called from a signal handler and from any thread."""
        self.stopped.set()
        self._monitor_wake.set()
        os.eventfd_write(self._wake_fd, 1)

    def close(self, timeout: float = 2.0) -> None:
        """End every session and wait for what runs, ``timeout`` seconds at most. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self.stop()
        self.workers.close(timeout)
        for peer in list(self.peers.values()):
            peer.close()
        self.listener.close()
        self._epoll.close()

    def _abandon(self) -> None:
        """In a process that the model forked: the sockets are the parent's, and only its own end counts."""
        if not self._closed:
            self._closed = True
            self._epoll.close()
            link.close_all([self.listener.detach(), self._wake_fd])
            for peer in self.peers.values():
                link.close_all([peer.sock.detach(), peer.pidfd])

    # -- the loop --------------------------------------------------------------------------------------

    def _lead(self) -> None:
        """Run the loop on this thread, until the service stops or another thread has been given it."""
        while not self.stopped.is_set():
            try:
                if not self._turn():
                    return
            except Exception:
                if self.stopped.wait(_AFTER_FAULT):  # a fault of ours must neither end the loop nor spin it
                    return
                logger.exception("a fault in the host's loop")

    def _turn(self) -> bool:
        """Serve what is ready. False when another thread has been given the loop meanwhile."""
        peers, calls = self.peers, self._calls
        while calls:  # left by a thread that lost the loop over the one before
            if not self._dispatch(calls.popleft()):
                return False
        for fd, mask in self._events():
            if mask == select.EPOLLIN and (peer := peers.get(fd)) is not None:
                self._readable(peer)
            else:
                self._event(fd, mask)
            while calls:
                if not self._dispatch(calls.popleft()):
                    return False
        return True

    def _events(self) -> list[tuple[int, int]]:
        poll = self._epoll.poll
        start = time.perf_counter()
        # While a model is at work, the cores are its.
        for _ in range(0 if self.workers.busy > 1 else self._patience.looks):
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

    def _tidy(self) -> None:
        for peer in list(self.peers.values()):
            peer.tidy()

    def _idle(self) -> None:
        """Nothing has come for a while: once, do what there is to do then."""
        if self._lap != self._idle_lap and not self.workers.busy > 1:
            self._idle_lap = self._lap
            for task in self.when_idle:
                self.workers.submit(task)

    def _event(self, fd: int, mask: int) -> None:
        peer = self.peers.get(fd)
        if peer is not None:
            if mask & select.EPOLLOUT:
                peer.flush()
                self._calls.extend(peer.unpark())
                self.watch(peer)
            if mask & ~select.EPOLLOUT:
                self._readable(peer)
        elif fd == self.listener.fileno():
            self._accept()
        elif fd in self._pidfds:
            self._end(self._pidfds[fd], "")  # its process has ended
        elif fd == self._wake_fd:
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
            logger.error("%r is ended: a fault of the host", peer, exc_info=exc)
            self._end(peer, "a fault of the host")

    def enqueue(self, call: Call) -> None:
        """Take a call in, on the loop's thread: it is dispatched next."""
        self._calls.append(call)

    def run_here(self, call: Call) -> None:
        """Run a call on this thread, which is a worker's."""
        if call.peer.park(call):
            return
        try:
            served = self.objects.get(call.ident)
        except KeyError as exc:
            self._await_object(call, exc)
        else:
            call.run(served)

    def _await_object(self, call: Call, exc: KeyError) -> None:
        """A call to a name that is still loading waits for it; any other unknown object is an error."""
        wait = self.objects.announced(call.ident)
        if wait is None:
            call.fail(exc)
            return

        def then() -> None:
            try:
                served = wait()
            except Exception as why:
                call.fail(why)
            else:
                call.run(served)

        self.workers.submit(then)

    def _dispatch(self, call: Call) -> bool:
        """Run a call here or on a worker. False when this thread has lost the loop meanwhile."""
        if call.peer.park(call):
            return True
        try:
            served = self._control if call.ident == CONTROL else self.objects.get(call.ident)
        except KeyError as exc:
            self._await_object(call, exc)
            return True
        pace = served.pace.get(call.method, 1.0)
        if pace > QUICK or call.problem is not None:
            self._lap += 1
            # Another thread gets the loop, and this one the call: so no hop lies in the call's own way.
            self.workers.submit(self._lead, urgent=True)
            self._timed(call, served, pace)
            return False
        return self._inline(call, served, pace)

    def _timed(self, call: Call, served: Served, pace: float) -> None:
        start = time.perf_counter()
        method = call.method
        call.run(served)
        del call
        _note(served, method, time.perf_counter() - start, pace)

    def _inline(self, call: Call, served: Served, pace: float) -> bool:
        self._lap += 1
        if self._monitor_sleeps:
            self._monitor_wake.set()
        self._started = start = time.perf_counter()
        self._running = call
        call.run(served)
        took = time.perf_counter() - start
        with self._lead_lock:
            mine = self._running is call
            if mine:
                self._running = None
        _note(served, call.method, took, pace)
        return mine

    def _monitor(self) -> None:
        """Give the loop to another thread when the one that has it stands still in a method."""
        lap, quiet = -1, 0
        while not self.stopped.is_set():
            quiet = quiet + 1 if self._lap == lap and self._running is None else 0
            lap = self._lap
            if quiet > _QUIET:
                self._sleep_until(lap)
                quiet = 0
            time.sleep(STANDSTILL)
            with self._lead_lock:
                late = self._running is not None and time.perf_counter() - self._started > STANDSTILL
                if late:
                    self._running = None
            if late:
                self.workers.submit(self._lead, urgent=True)

    def _sleep_until(self, lap: int) -> None:
        """Until the loop has gone on since ``lap``."""
        self._monitor_wake.clear()
        self._monitor_sleeps = True
        if self._lap == lap:  # a call that began before the flag was up would not have woken us
            self._monitor_wake.wait()
        self._monitor_sleeps = False

    # -- sessions --------------------------------------------------------------------------------------

    def _accept(self) -> None:
        try:
            sock, _ = self.listener.accept()
        except OSError as exc:
            if exc.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
                self._pause(f"no further connection can be taken: {exc.strerror} (raise ulimit -n)")
            return
        sock.setblocking(False)
        who = link.peer_of(sock)
        if not self._admitted(sock, who):
            self._refuse(sock, NotPermitted(f"uid {who.uid} may not enter {self.address}"))
        elif len(self.peers) >= self.limits.sessions:
            self._refuse(sock, NotPermitted(f"{self.address} has {len(self.peers)} sessions, its limit"))
        else:
            about = {"pid": os.getpid(), "address": self.address, **self.info}
            reception = handshake.Reception(self._authkey, about)
            peer = self.peers[sock.fileno()] = Peer(self, sock, who, reception)
            self._epoll.register(peer.fd, _IN)

    def _admitted(self, sock: socket.socket, who: link.Peer) -> bool:
        try:
            return self._entry.admits(sock, who)
        except (OSError, StopIteration):  # it is gone already: nobody to let in
            return False

    def _pause(self, reason: str) -> None:
        # Level-triggered and not to be served: left registered, the listener would spin the loop.
        self.warn_once("accept", reason)
        self._epoll.modify(self.listener.fileno(), 0)
        threading.Timer(0.2, self._resume).start()

    def _resume(self) -> None:
        if not self._closed:
            self._epoll.modify(self.listener.fileno(), select.EPOLLIN)

    def _refuse(self, sock: socket.socket, exc: NotPermitted) -> None:
        self.warn_once(f"refused {exc}", str(exc))
        try:
            sock.send(wire.frame([wire.FAILURE, 0, *failure.to_wire(exc)]))
        except OSError:
            pass
        sock.close()

    def greet(self, peer: Peer, message: list[Any]) -> None:
        """The host's part of the handshake (see `handshake`)."""
        try:
            answer = peer.reception.take(message)
        except handshake.Rejected as exc:
            peer.send(exc.answer)
            raise
        if peer.reception.done:
            peer.greeted = True
            peer.shared_memory = peer.reception.who.get("shared_memory") is True
            self._watch_process(peer)
        peer.send(answer)

    def _watch_process(self, peer: Peer) -> None:
        # The socket alone does not tell: a child that the client forked may hold it open.
        try:
            peer.pidfd = os.pidfd_open(peer.who.pid)
        except OSError:
            return  # in another pid namespace: its socket's end must do
        self._pidfds[peer.pidfd] = peer
        self._epoll.register(peer.pidfd, select.EPOLLIN)

    def watch(self, peer: Peer) -> None:
        """Ask for the events that a session needs now."""
        with peer.lock:  # or a mask that is out of date might come last
            if peer.closed:
                return
            mask = select.EPOLLOUT if peer.unsent else 0
            if peer.unsent < BACKLOG_MOST:
                mask |= _IN
            try:
                self._epoll.modify(peer.fd, mask)
            except (OSError, ValueError):
                pass  # it is being ended

    def _end(self, peer: Peer, reason: str) -> None:
        with self._lead_lock:
            if self.peers.get(peer.fd) is not peer:  # ended already, and its number may be another's by now
                return
            del self.peers[peer.fd]
        if reason:
            logger.warning("%r is ended: %s", peer, reason)
        for fd in (peer.fd, peer.pidfd):
            try:
                self._epoll.unregister(fd)
            except (OSError, ValueError):
                pass
        self._pidfds.pop(peer.pidfd, None)
        self.workers.submit(peer.close, urgent=True)

    def _heartbeat(self, *, idle: bool) -> None:
        if idle:
            self._idle()
        self._tidy()
        for peer in list(self.peers.values()):
            if not peer.greeted and peer.reception.late:
                self._end(peer, "it connected and said nothing")

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
            os.eventfd_write(self._wake_fd, 1)

    def _bury(self) -> None:
        for ident in drain(self._dead):
            self.objects.decref(ident)

    def load_proxy(self, fields: list[Any]) -> Any:
        return load_in_host(self, fields)

    def warn_once(self, key: str, text: str) -> None:
        """A warning that would otherwise be repeated: once a minute."""
        now = time.monotonic()
        if now - self._warned.get(key, -1e9) > 60:
            self._warned[key] = now
            logger.warning("%s", text)


def _note(served: Served, method: str, took: float, pace: float) -> None:
    if method not in served.exposed:
        return  # a name that the client made up
    # Slow at once, quick only after several quick runs.
    served.pace[method] = took if took > pace or pace >= 1.0 else pace + (took - pace) / 4
