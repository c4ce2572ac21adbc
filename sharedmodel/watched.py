"""What the loop waits for, in one epoll: the listener, a bell, the sessions' sockets and the processes behind them.

Owns which session a descriptor belongs to. A number is used again as soon as it is closed, so a session is
taken out here before its descriptors are closed.
"""

from __future__ import annotations

import os
import select
import threading
from typing import TYPE_CHECKING, Final

from . import link
from .outlet import BACKLOG_MOST
from .standby import Standby

if TYPE_CHECKING:
    from .peer import Peer

_IN: Final = select.EPOLLIN | select.EPOLLRDHUP


class Watched:
    """The descriptors of one loop. Thread-safe."""

    def __init__(self) -> None:
        self.peers: dict[int, Peer] = {}
        self.processes: dict[int, Peer] = {}
        self.bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll = select.epoll()
        self.poll = self._epoll.poll
        self.standby = Standby(self._epoll.fileno())
        self._lock = threading.Lock()
        self.listen(self.bell)

    def ring(self) -> None:
        """Wake the loop. Safe in a signal handler and in a finalizer."""
        os.eventfd_write(self.bell, 1)

    def listen(self, fd: int) -> None:
        """Wait for something to be read from a descriptor that is no session's."""
        self._epoll.register(fd, select.EPOLLIN)

    def pause(self, fd: int) -> None:
        # Level-triggered and not to be served: left registered, it would spin the loop.
        self._epoll.modify(fd, 0)

    def resume(self, fd: int) -> None:
        try:
            self._epoll.modify(fd, select.EPOLLIN)
        except (OSError, ValueError):
            pass  # closed meanwhile

    def add(self, peer: Peer) -> None:
        """Wait for a session's frames."""
        self.peers[peer.fd] = peer
        self._epoll.register(peer.fd, _IN)

    def add_process(self, peer: Peer) -> None:
        """Wait for the end of a session's process too: a child that it forked may hold the socket open."""
        try:
            peer.pidfd = os.pidfd_open(peer.who.pid)
        except OSError:
            return  # in another pid namespace: its socket's end must do
        self.processes[peer.pidfd] = peer
        self._epoll.register(peer.pidfd, select.EPOLLIN)

    def ended(self, fd: int) -> Peer | None:
        """The session of the process that this is the descriptor of, if it has ended.

        It is looked at: an event may still mean another process, whose descriptor had the same number.
        """
        peer = self.processes.get(fd)
        if peer is None:
            return None
        look = select.poll()
        look.register(fd, select.POLLIN)
        return peer if look.poll(0) else None

    def update(self, peer: Peer) -> None:
        """Ask for the events that a session needs now."""
        outlet = peer.outlet
        with outlet.lock:  # or a mask that is out of date might come last
            if outlet.closed:
                return
            mask = select.EPOLLOUT if outlet.unsent else 0
            if outlet.unsent < BACKLOG_MOST:
                mask |= _IN
            try:
                self._epoll.modify(peer.fd, mask)
            except (OSError, ValueError):
                pass  # it is being ended

    def remove(self, peer: Peer) -> bool:
        """Wait for a session no more. False if it was taken out already: its numbers may be another's by now."""
        with self._lock:
            if self.peers.get(peer.fd) is not peer:
                return False
            del self.peers[peer.fd]
        for fd in (peer.fd, peer.pidfd):
            try:
                self._epoll.unregister(fd)
            except (OSError, ValueError):
                pass
        self.processes.pop(peer.pidfd, None)
        return True

    def close(self) -> None:
        """Wait for nothing any more. The bell may still be rung."""
        self.standby.close()
        self._epoll.close()

    def abandon(self) -> None:
        """In a process that the model forked: these are the parent's, and only its own end counts."""
        self.standby.close()
        self._epoll.close()
        link.close_all([self.bell])
        for peer in self.peers.values():
            link.close_all([peer.sock.detach(), peer.pidfd])
