"""The sockets: listening, connecting, who the peer is, and descriptors sent along. Nothing above opens one.

AF_UNIX stream sockets with a path only. The directory is 0700 and the socket 0600 before anybody can
connect (0710 and 0660 where a group is let in); `peer_of` says who is on the other end.
"""

from __future__ import annotations

import array
import contextlib
import errno
import os
import socket
import stat
import struct
import time
from collections import deque
from typing import Any, Final, NamedTuple

from . import deadlines
from .errors import BadArgument, HostUnavailable, NotPermitted

MAX_PATH: Final = 107  # sun_path without its NUL, unix(7)
BACKLOG: Final = 1024
READ_SIZE: Final = 64 << 10
MAX_FDS: Final = 4
_ANCILLARY: Final = socket.CMSG_SPACE(MAX_FDS * 4)
_ANCILLARY_SIZES: Final = (_ANCILLARY,)
_READ_SIZES: Final = (READ_SIZE,)
_SO_PEERGROUPS: Final = 59
_RETRY_FIRST: Final = 0.001
_RETRY_MOST: Final = 0.05


class Peer(NamedTuple):
    """The process that connected, as the kernel says (SO_PEERCRED)."""

    pid: int
    uid: int
    gid: int


def check_address(address: Any) -> str:
    """The path of an AF_UNIX socket. Raises BadArgument for anything else, and says why."""
    if isinstance(address, os.PathLike):
        address = os.fspath(address)
    if isinstance(address, tuple):
        raise BadArgument(
            f"address {address!r} is a TCP address: tensors are shared through memory and callers known "
            "by their uid, both of one host only; give the path of a Unix socket, or none"
        )
    if not isinstance(address, str) or not address or address.startswith("\0"):
        raise BadArgument(f"address {address!r}: give the path of a Unix socket (a str), or none")
    if len(os.fsencode(address)) > MAX_PATH:
        raise BadArgument(f"the socket's path has more than {MAX_PATH} bytes: {address}")
    return address


def listen(address: str, *, group: int | None = None) -> socket.socket:
    """A listening socket at a path; one that is there without a listener is replaced.

    The socket is 0600, or 0660 and of ``group`` where one is given. Raises OSError (EADDRINUSE) when
    somebody listens there already.
    """
    address = check_address(address)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _is_stale(address):
            os.unlink(address)
        # Linux gives the file that bind creates the permissions of the socket: there is no moment with wider ones. Not
        # by a umask, which is every thread's meanwhile, and for good where two threads set and restore it at once.
        os.fchmod(listener.fileno(), 0o600)
        listener.bind(address)
        if group is not None:
            os.chown(address, -1, group)
        os.chmod(address, 0o600 if group is None else 0o660)  # whatever umask there is
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _is_stale(address: str) -> bool:
    try:
        if not stat.S_ISSOCK(os.stat(address).st_mode):
            return False
    except FileNotFoundError:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a full backlog answers EAGAIN: somebody is there
        try:
            probe.connect(address)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


def try_connect(address: str) -> socket.socket | None:
    """A connected, non-blocking socket, or None while the listener's backlog is full.

    Raises HostUnavailable when nobody listens there, NotPermitted when the file may not be opened.
    """
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    link.setblocking(False)
    try:
        link.connect(address)
    except BlockingIOError:
        link.close()
        return None
    except (FileNotFoundError, ConnectionRefusedError) as exc:
        link.close()
        raise HostUnavailable(exc.errno, f"nobody listens at {address}: {exc.strerror}") from exc
    except PermissionError as exc:
        link.close()
        raise NotPermitted(exc.errno, f"{address}: {exc.strerror} for uid {os.geteuid()}") from exc
    except BaseException:
        link.close()
        raise
    return link


def answers(address: str) -> bool:
    """Whether somebody listens there."""
    try:
        probe = try_connect(address)
    except OSError:
        return False
    if probe is not None:
        probe.close()
    return True


def connect(address: str, timeout: float | None = None) -> socket.socket:
    """A connected, blocking socket. Waits while the backlog is full, at most ``timeout`` seconds."""
    address = check_address(address)
    end = deadlines.after(timeout)
    pause = _RETRY_FIRST
    while (link := try_connect(address)) is None:
        if end is not None and time.monotonic() > end:
            raise HostUnavailable(errno.EAGAIN, f"{address}: its backlog stayed full for {timeout} s")
        time.sleep(pause)
        pause = min(2 * pause, _RETRY_MOST)
    link.setblocking(True)
    return link


def peer_of(link: socket.socket) -> Peer:
    """Who connected, asked of the kernel."""
    return Peer(*struct.unpack("3i", link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)))


def groups_of(link: socket.socket) -> frozenset[int]:
    """The supplementary groups of the process that connected (SO_PEERGROUPS, Linux 4.13)."""
    # Python's buffer takes 256 groups; for more the kernel says ERANGE, and /proc has them all.
    try:
        return frozenset(array.array("I", link.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 1024)))
    except OSError:
        with open(f"/proc/{peer_of(link).pid}/status") as status:
            line = next(line for line in status if line.startswith("Groups:"))
        return frozenset(map(int, line.split()[1:]))


def send(link: socket.socket, data: Any, fds: tuple[int, ...] = ()) -> int:
    """Send what fits; descriptors travel with the first byte. The number of bytes taken."""
    if not fds:
        return link.send(data)
    return socket.send_fds(link, [data], list(fds))


class Inbox:
    """What has been read from a socket and not been used yet.

    A Ctrl-C raises between two instructions; were it between a read and the storing of what was read,
    the stream would be torn. So both happen within one: `deque.extend` over `map`, in C.
    """

    __slots__ = ("_read", "reads")

    def __init__(self, link: socket.socket) -> None:
        self.reads: deque[Any] = deque()
        self._read = link.recvmsg

    def fill(self) -> None:
        """Read once; blocks until something is there."""
        self.reads.extend(map(self._read, _READ_SIZES, _ANCILLARY_SIZES))

    def take(self) -> tuple[bytes, list[int]]:
        """The oldest read: its bytes and the descriptors that came along. No bytes: the peer has closed."""
        data, ancillary, flags, _ = self.reads.popleft()
        return (data, _descriptors(ancillary, flags)) if ancillary else (data, _NONE)


class Outbox:
    """What a socket has not taken yet, oldest first. A frame of which it took a part is always finished.

    As in `Inbox`, that bytes are gone is noted within the instruction that sends them. One thread at a time
    may `flush`; any may `put`.
    """

    __slots__ = ("_send", "frames", "put")

    def __init__(self, link: socket.socket) -> None:
        self._send = link.send
        self.frames: deque[Outgoing] = deque()
        self.put = self.frames.append

    def flush(self) -> bool:
        """Send what the socket takes without waiting; whether that was all. Raises OSError."""
        frames = self.frames
        while frames:
            data, taken = frames[0]
            rest = memoryview(data)[sum(taken) :] if taken else data
            try:
                taken.extend(map(self._send, (rest,), _AT_ONCE))
            except BlockingIOError:
                return False
            if taken[-1] == len(rest):
                frames.popleft()
        return True

    def remove(self, frame: Outgoing) -> None:
        """Take back a frame of which nothing is gone. None may be flushing; one that is not here is fine."""
        for index in range(len(self.frames)):
            if self.frames[index] is frame:
                del self.frames[index]
                return


Outgoing = tuple[bytes, deque[int]]


def outgoing(data: bytes) -> Outgoing:
    """A frame, and how many bytes of it the socket took each time."""
    return data, deque()


_AT_ONCE: Final = (socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL,)
_NONE: list[int] = []


def receive(link: socket.socket, size: int) -> tuple[bytes, list[int]]:
    """Some bytes, and the descriptors that came along. No bytes: the peer has closed."""
    data, ancillary, flags, _ = link.recvmsg(size, _ANCILLARY)
    return data, _descriptors(ancillary, flags) if ancillary else []


def _descriptors(ancillary: list[Any], flags: int) -> list[int]:
    fds = array.array("i")
    for level, kind, raw in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(raw[: len(raw) - len(raw) % fds.itemsize])
    if flags & socket.MSG_CTRUNC:
        close_all(list(fds))
        raise OSError(errno.EMFILE, "a descriptor that came along could not be taken (ulimit -n)")
    return list(fds)


def close_all(fds: list[int]) -> None:
    """Close descriptors; one that is closed already is fine."""
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)
