"""The arrays that a host keeps for those who have a handle (see `handle`): the object published as "#handles".

Each lies in a segment of its own that nobody can write to, and is an object like any other that clients refer to:
their sessions' references are its holders. A lease is one reference more, the host's own, for a stated time.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from . import reply, segment
from .errors import BadArgument, Expired, Overloaded, UnknownObject
from .handle import HANDLE, HANDLES
from .objects import Objects, Registration
from .tensor import Array, Order, header_of
from .timers import Timer, Timers

__all__ = ["EXPOSED", "HANDLES", "Handles", "Stored", "found"]

EXPOSED: Final = ("open", "put", "renew")
LEASE_MOST: Final = 7 * 86400.0


class Stored:
    """A copy of an array, for any number of readers. ``key`` proves that one has its handle."""

    def __init__(self, array: Array) -> None:
        """Raises OSError where there is no memory for it."""
        order: Order = "C" if array.flags.c_contiguous or not array.flags.f_contiguous else "F"
        self.key = os.urandom(16).hex()
        self.header = header_of(array.dtype, array.shape, order)

        def lying_in(buffer: Any) -> Array:
            return np.ndarray(array.shape, array.dtype, buffer, 0, None, order)

        def fill(buffer: memoryview) -> None:
            lying_in(buffer)[...] = array

        self.segment = segment.frozen(array.nbytes, fill)
        self.array = lying_in(self.segment.map)


class Handles:
    """What clients may ask. Thread-safe."""

    def __init__(self, objects: Objects, most: int, now: Callable[[], float] = time.monotonic) -> None:
        """``most``: bytes that all arrays together may have."""
        self._objects = objects
        self._most = most
        self._now = now
        self._lock = threading.Lock()
        self._leases: dict[str, float] = {}
        self._timers = Timers()
        self._next: Timer | None = None
        objects.registry[HANDLE] = Registration(None, exposed=())

    def put(self, array: Array, lease: float) -> tuple[str, str]:
        """Keep a copy of an array; its number and key. The caller holds it, and it has a lease of so many seconds.

        Raises TypeError for what is no array, BadArgument for a lease that can't be, Overloaded where all that is
        kept would be too much, OSError where there is no memory.
        """
        if type(array) is not np.ndarray:
            raise TypeError(f"only an array can be put, not a {type(array).__name__}")
        checked(lease)
        self._admit(array.nbytes)
        stored = Stored(array)
        served, _ = self._objects.create(HANDLE, (stored,), {})
        self._lease(served.ident, lease)
        _peer().refs.add(served.ident)
        return served.ident, stored.key

    def open(self, ident: str, key: str) -> tuple[int, bytes] | Array:
        """The number of the segment that is sent along, and the array's header; the array where none can be sent.

        The caller holds it from now on. Raises Expired.
        """
        self.sweep()
        stored = found(self._objects, ident, key)
        peer = _peer()
        self._hold(ident)
        peer.refs.add(ident)
        if not peer.room.shared_memory:
            return stored.array
        try:
            return peer.room.show(stored.segment), stored.header
        except OSError:
            peer.refs.drop(ident)
            raise

    def renew(self, ident: str, key: str, lease: float) -> None:
        """Begin a lease anew. Raises Expired."""
        self.sweep()
        found(self._objects, ident, key)
        self._lease(ident, checked(lease))

    def sweep(self) -> None:
        """End the leases whose time has come."""
        now = self._now()
        with self._lock:
            over = [ident for ident, end in self._leases.items() if end <= now]
            for ident in over:
                del self._leases[ident]
            if over or self._next is None or self._next.act is None:
                self._arm()
        for ident in over:
            self._objects.decref(ident)

    def close(self) -> None:
        """End every lease. Idempotent."""
        self._timers.close()
        with self._lock:
            leased = list(self._leases)
            self._leases.clear()
        for ident in leased:
            self._objects.decref(ident)

    def _lease(self, ident: str, seconds: float) -> None:
        end = self._now() + seconds
        self._hold(ident)
        with self._lock:
            known = self._leases.get(ident)
            self._leases[ident] = end if known is None else max(known, end)
            if known is None:
                self._arm()
        if known is not None:
            self._objects.decref(ident)

    def _arm(self) -> None:
        """See to it that the next lease to end is noticed; one that is renewed is only looked at too early."""
        if self._next is not None:
            self._timers.drop(self._next)
        self._next = None
        if self._leases:
            self._next = self._timers.after(min(self._leases.values()) - self._now(), self.sweep)

    def _hold(self, ident: str) -> None:
        try:
            self._objects.incref(ident)
        except UnknownObject:  # it went this very moment
            raise expired() from None

    def _admit(self, nbytes: int) -> None:
        kept = [served.obj for served in self._objects.counted() if served.typeid == HANDLE]
        has = sum(stored.array.nbytes for stored in kept if isinstance(stored, Stored))  # others a client has made
        if has + nbytes > self._most:
            raise Overloaded(f"{has} bytes are kept for handles; {nbytes} more would be over {self._most}")


def found(objects: Objects, ident: str, key: str) -> Stored:
    """What a handle stands for. Raises Expired."""
    try:
        stored = objects.get(ident).obj
    except UnknownObject:
        raise expired() from None
    if not isinstance(stored, Stored) or stored.key != key:
        raise expired()
    return stored


def expired() -> Expired:
    return Expired(
        "the host does not keep this handle's array any more: nobody held it and its lease had passed, or the "
        "host was restarted; open handles in time, or put with a longer lease"
    )


def checked(lease: float) -> float:
    if type(lease) not in (int, float) or not 0 <= lease <= LEASE_MOST:
        raise BadArgument(f"a lease is 0 to {LEASE_MOST:.0f} seconds, not {lease!r}")
    return lease


def _peer() -> Any:
    call: Any = reply.current.call
    return call.peer
