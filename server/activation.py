"""Listening sockets that a service manager made and holds (sd_listen_fds(3)): they outlive this process.

LISTEN_PID    for whom they are
LISTEN_FDS    how many: descriptors 3, 4, …
LISTEN_FDNAMES  what their unit calls them, for the log
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import MutableMapping
from typing import Final

_FIRST: Final = 3
_VARIABLES: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")

logger = logging.getLogger("sharedmodel.supervisor")


def take(environ: MutableMapping[str, str] = os.environ, first: int = _FIRST) -> dict[str, socket.socket]:
    """The sockets by their paths; the variables are taken out of the environment, which the hosts inherit.

    What is not a listening Unix socket with a path is not used, and the log says so.
    """
    pid, count, names = (environ.pop(name, "") for name in _VARIABLES)
    if pid != str(os.getpid()) or not count.isdecimal():
        return {}
    labels = names.split(":")
    found = {}
    for number in range(int(count)):
        label = labels[number] if number < len(labels) and labels[number] else f"descriptor {first + number}"
        sock = _listening(first + number)
        if sock is None:
            logger.warning("%s of the service manager is no listening Unix socket with a path: not used", label)
        else:
            found[os.path.realpath(sock.getsockname())] = sock
    return found


def _listening(fd: int) -> socket.socket | None:
    try:
        sock = socket.socket(fileno=fd)
    except OSError:
        return None
    try:
        listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        address = sock.getsockname()
    except OSError:
        listens, address = 0, None
    ours = sock.family == socket.AF_UNIX and sock.type == socket.SOCK_STREAM and listens
    if ours and isinstance(address, str) and address:
        sock.set_inheritable(False)
        return sock
    sock.close()
    return None
