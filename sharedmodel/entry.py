"""Who may enter a host, and how much of it one session may take."""

from __future__ import annotations

import socket
from typing import NamedTuple

from . import link, wire


class Limits(NamedTuple):
    """Bounds of one host; bytes are per session."""

    sessions: int = 4096
    request_bytes: int = 16 << 30
    reply_quota: int = 1 << 30
    payload: int = wire.MAX_PAYLOAD
    kind: str | None = None  # "shm" or "memfd" for all; by itself, memfd for other users and small /dev/shm


class Entry(NamedTuple):
    """Who may connect: these uids, and members of the group if one is given."""

    uids: frozenset[int]
    group: int | None = None

    def admits(self, sock: socket.socket, who: link.Peer) -> bool:
        if who.uid in self.uids:
            return True
        return self.group is not None and (who.gid == self.group or self.group in link.groups_of(sock))
