"""Who connects: is let in, refused, and greeted."""

from __future__ import annotations

import errno
import itertools
import os
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from . import failure, handshake, link, wire
from .entry import Entry
from .errors import NotPermitted
from .peer import Peer

if TYPE_CHECKING:
    from .service import Service

_PAUSE: Final = 0.2  # seconds without accepting, where descriptors or memory have run out
_NO_ROOM: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)


class Arrivals:
    """Takes connections from the service's listener."""

    def __init__(self, service: Service, entry: Entry | None, authkey: bytes | None) -> None:
        """``entry``: who may come in, without it this user alone; ``authkey`` is asked for besides."""
        self._service = service
        self._entry = entry or Entry(frozenset({os.geteuid()}))
        self._authkey = authkey
        self._numbers = itertools.count(1)

    def accept(self) -> None:
        """Take one connection, which becomes a session or is told why not."""
        service = self._service
        try:
            sock, _ = service.listener.accept()
        except OSError as exc:
            if exc.errno in _NO_ROOM:
                self._pause(f"no further connection can be taken: {exc.strerror} (raise ulimit -n)")
            return
        sock.setblocking(False)
        who = link.peer_of(sock)
        if not self._admitted(sock, who):
            self._refuse(sock, NotPermitted(f"uid {who.uid} may not enter {service.address}"))
        elif len(service.peers) >= service.limits.sessions:
            self._refuse(sock, NotPermitted(f"{service.address} has {len(service.peers)} sessions, its limit"))
        else:
            number = next(self._numbers)
            about = {"pid": os.getpid(), "address": service.address, "session": number, "traces": True, **service.info}
            service.watched.add(Peer(service, sock, who, handshake.Reception(self._authkey, about), number))

    def _admitted(self, sock: socket.socket, who: link.Peer) -> bool:
        try:
            return self._entry.admits(sock, who)
        except (OSError, StopIteration):  # it is gone already: nobody to let in
            return False

    def _refuse(self, sock: socket.socket, exc: NotPermitted) -> None:
        self._service.warn_once(f"refused {exc}", str(exc))
        try:
            sock.send(wire.frame([wire.FAILURE, 0, *failure.to_wire(exc)]))
        except OSError:
            pass
        sock.close()

    def _pause(self, reason: str) -> None:
        self._service.warn_once("accept", reason)
        self._service.watched.pause(self._service.listener.fileno())
        try:
            threading.Timer(_PAUSE, self._resume).start()
        except RuntimeError:  # nor a further thread
            time.sleep(_PAUSE)
            self._resume()

    def _resume(self) -> None:
        self._service.watched.resume(self._service.listener.fileno())

    def greet(self, peer: Peer, message: list[Any]) -> None:
        """The host's part of the handshake (see `handshake`). Raises Rejected."""
        try:
            answer = peer.reception.take(message)
        except handshake.Rejected as exc:
            peer.outlet.send(exc.answer)
            raise
        if peer.reception.done:
            peer.greeted = True
            peer.room.shared_memory = peer.reception.who.get("shared_memory") is True
            self._service.watched.add_process(peer)
        peer.outlet.send(answer)
