"""A segment: one shared buffer that two processes map. The only file that opens shared memory.

The host creates it and really allocates it, so that a full /dev/shm is an error at creation and never
a SIGBUS at the first write. Its name is unlinked at once and the descriptor goes to the peer over
the socket; a kill between the two leaves a name that says whose it was, and `leftovers` finds it.

    kind "shm"     POSIX shared memory, as multiprocessing.shared_memory makes it
    kind "memfd"   anonymous and sealed (cannot shrink or grow): where /dev/shm is too small, or the
                   peer is another user
    kind "frozen"  a memfd that was filled once and then sealed against writing, for any number of readers

Both are one class to everyone above. It does not stand on `multiprocessing.shared_memory.SharedMemory`
itself: that import costs a client 5 MB and 24 ms (hashlib and OpenSSL, for a random name), its
tracker is one more process a client, and its ``close()`` under a live view is a segmentation fault.
Here a mapping is never closed by hand: arrays refer to it, and it goes with the last of them.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import posix_ipc

from .process import identity, is_alive

PAGE: Final = mmap.PAGESIZE
DIRECTORY: Final = "/dev/shm"
PREFIX: Final = "sharedmodel-"
_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW if hasattr(fcntl, "F_SEAL_SHRINK") else 6
_F_ADD_SEALS: Final = 1033
_F_SEAL_FUTURE_WRITE: Final = 0x10  # Linux 5.1; before that, readers map it read-only and that must do
FROZEN: Final = "frozen"
# Page tables are filled in one go for a segment large enough to be meant for large tensors; a small
# one is touched as it is used, so that an idle client stays small.
_POPULATE_FROM: Final = 4 << 20
_MADV_POPULATE_WRITE: Final = 23


class Mapping(mmap.mmap):
    """The buffer. Arrays in it keep it, and with it the descriptor that cutting them off takes."""

    fd = -1

    def make_private(self, offset: int, size: int) -> None:
        """Cut a page-aligned range off from the peer, in place, its content kept (copy on write).

        What a fork needs: afterwards each of the two processes has the range for itself. Nothing is
        copied here, and no write by another thread can be lost, since the pages stay as they are.
        """
        _libc_mmap(ctypes.addressof(ctypes.c_char.from_buffer(self)) + offset, size, self.fd, offset)

    def close_descriptor(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.close_descriptor()


class Segment:
    """One mapped buffer. ``map`` is the buffer, ``size`` its bytes, ``fd`` its descriptor."""

    __slots__ = ("__weakref__", "kind", "map", "size")

    def __init__(self, fd: int, size: int, kind: str, *, writable: bool = True) -> None:
        """Map ``size`` bytes of ``fd``, which is the segment's from now on.

        Raises OSError where mapping is refused (limits, no permission); the descriptor is closed.
        """
        self.size = size
        self.kind = kind
        populate = mmap.MAP_POPULATE if size >= _POPULATE_FROM else 0
        try:
            if os.fstat(fd).st_size < size:
                raise OSError(errno.EINVAL, "the segment is smaller than its peer says")
            protection = mmap.PROT_READ | mmap.PROT_WRITE if writable else mmap.PROT_READ
            self.map = Mapping(fd, size, mmap.MAP_SHARED | populate, protection)
        except BaseException:
            os.close(fd)
            raise
        self.map.fd = fd

    @property
    def fd(self) -> int:
        return self.map.fd

    def close(self) -> None:
        """Give up the descriptor. The mapping itself goes when nothing refers to it any more."""
        self.map.close_descriptor()

    def make_private(self, offset: int, size: int) -> None:
        """See `Mapping.make_private`."""
        self.map.make_private(offset, size)

    def forget(self, offset: int, size: int) -> None:
        """Give the pages of a range back to the machine; it reads as zeros and is warmed by `refill`."""
        self.map.madvise(mmap.MADV_REMOVE, offset, size)

    def refill(self, offset: int, size: int) -> None:
        """Allocate the pages of a forgotten range. Raises OSError (ENOMEM, ENOSPC, EFAULT) if full."""
        self.map.madvise(_MADV_POPULATE_WRITE, offset, size)

    def __repr__(self) -> str:
        return f"<Segment {self.kind} {self.size} bytes>"


def create(size: int, kind: str = "shm", *, writable: bool = True) -> Segment:
    """A new segment of at least ``size`` bytes, really allocated; ``writable`` is about this mapping of it.

    Where /dev/shm is missing or too small for a "shm" segment, it is a "memfd" one. Raises OSError
    (ENOSPC, ENOMEM) when there is no memory for either.
    """
    size = max(PAGE, -(-size // PAGE) * PAGE)
    if kind == "shm":
        try:
            return Segment(_posix_fd(size), size, "shm", writable=writable)
        except (OSError, posix_ipc.Error):
            kind = "memfd"
    return Segment(_sealed_fd(size), size, kind, writable=writable)


def frozen(size: int, fill: Callable[[memoryview], None]) -> Segment:
    """A segment that nobody can write to once ``fill`` has, not even who has its descriptor. Raises as `create`."""
    made = create(size, "memfd")
    fill(memoryview(made.map))
    with contextlib.suppress(OSError):
        fcntl.fcntl(made.fd, _F_ADD_SEALS, _F_SEAL_FUTURE_WRITE)
    return Segment(os.dup(made.fd), made.size, FROZEN, writable=False)


def _posix_fd(size: int) -> int:
    name = f"{PREFIX}{identity(os.getpid())}-{os.urandom(6).hex()}"
    memory = posix_ipc.SharedMemory("/" + name, posix_ipc.O_CREX, mode=0o600)
    fd: int = memory.fd
    try:
        os.posix_fallocate(fd, 0, size)
    except BaseException:
        os.close(fd)
        raise
    finally:
        with contextlib.suppress(posix_ipc.ExistentialError):
            memory.unlink()
    os.set_inheritable(fd, False)
    return fd


def _sealed_fd(size: int) -> int:
    fd = os.memfd_create("sharedmodel", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.posix_fallocate(fd, 0, size)
        fcntl.fcntl(fd, _F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(fd)
        raise
    return fd


class Leftover(NamedTuple):
    """A name in /dev/shm whose creator is dead."""

    name: str
    size: int


def leftovers() -> Iterator[Leftover]:
    """Names that a kill between creation and unlinking left behind. Those of the living are not listed."""
    with contextlib.suppress(FileNotFoundError):
        for name in sorted(os.listdir(DIRECTORY)):
            if name.startswith(PREFIX) and not is_alive(name.removeprefix(PREFIX).rpartition("-")[0]):
                with contextlib.suppress(FileNotFoundError):
                    yield Leftover(name, os.stat(f"{DIRECTORY}/{name}").st_size)


def remove(leftover: Leftover) -> None:
    """Remove a leftover. One that is already gone is fine."""
    with contextlib.suppress(posix_ipc.ExistentialError):
        posix_ipc.unlink_shared_memory("/" + leftover.name)


def _libc_mmap(address: int, size: int, fd: int, offset: int) -> None:
    call = ctypes.CDLL(None, use_errno=True).mmap
    call.restype = ctypes.c_void_p
    call.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    protection = mmap.PROT_READ | mmap.PROT_WRITE
    map_fixed = 0x10
    got = call(address, size, protection, mmap.MAP_PRIVATE | map_fixed, fd, offset)
    if got != address:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
