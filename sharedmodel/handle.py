"""A handle: a small object that stands for an array in a host's memory, and that any process of the machine opens.

    put ─► the host keeps the array      (see `stored`)
    pickle, or pass it on any other way  ─► a lease, so that it lasts until somebody opens it
    open ─► the same memory, mapped read-only; from then on this process holds it too

The array goes with its last holder and its last lease. Who holds it is counted by the host, on sessions: so a
holder that is killed lets go as well. An array that is open stays what it is, whatever becomes of the host.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from .errors import Expired, HostLost, ProtocolError
from .session import Session
from .sessions import SESSIONS
from .tensor import Array, read_header

if TYPE_CHECKING:
    from .objects import Objects

HANDLES: Final = "#handles"
HANDLE: Final = "#handle"
LEASE: Final = 60.0


def is_handle(fields: list[Any]) -> bool:
    """Whether what has come for a proxy is a handle."""
    return len(fields) == 5 and fields[0] == HANDLE


class Handle:
    """An array that a host keeps. Made by `Host.put`; pickles in about 150 bytes, which renews its lease."""

    def __init__(self, address: str, ident: str, key: str, lease: float) -> None:
        self.address = address
        self.lease = lease
        self._ident = ident
        self._key = key
        self._array: Array | None = None

    @classmethod
    def put(cls, session: Session, array: Array, lease: float) -> Handle:
        """Have a host keep a copy of an array; this process is its first holder. Raises as `Host.put`."""
        ident, key = session.call(HANDLES, "put", (array, float(lease)), {})
        handle = cls(session.address, ident, key, float(lease))
        _holds(handle, session, ident)
        return handle

    def open(self) -> Array:
        """The array, read-only and not copied. This process holds it as long as it has this handle or an array of it.

        Raises Expired where the host does not keep it any more, HostUnavailable where there is no host.
        """
        if self._array is None:
            session, found = self._asked("open")
            if type(found) is tuple:
                self._array = _mapped(session, self._ident, *found)
            else:  # a copy, where memory can't be shared
                self._array = found
                self._array.flags.writeable = False
                _holds(self, session, self._ident)
        return self._array.view()

    def renew(self) -> None:
        """Begin the lease anew, as pickling does. Raises as `open`."""
        self._asked("renew", self.lease)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.open(), dtype, copy=copy)

    def __reduce__(self) -> Any:
        self.renew()
        return Handle, (self.address, self._ident, self._key, self.lease)

    def __repr__(self) -> str:
        return f"<Handle {self._ident} at {self.address}>"

    # -- across the wire -------------------------------------------------------------------------------

    @property
    def fields(self) -> tuple[Any, ...]:
        """What crosses instead."""
        return HANDLE, self.address, self._ident, [self._key, repr(self.lease)], ""

    @classmethod
    def of(cls, fields: list[Any]) -> Handle:
        """The handle again. Raises ProtocolError."""
        try:
            _, address, ident, (key, lease), _ = fields
            if type(address) is type(ident) is type(key) is str:
                return cls(address, ident, key, float(lease))
        except (TypeError, ValueError):
            pass
        raise ProtocolError("a malformed handle")

    def here(self, objects: Objects) -> Array:
        """The array itself, in the host that keeps it. Raises Expired."""
        from .stored import found

        return found(objects, self._ident, self._key).array

    # -- the host --------------------------------------------------------------------------------------

    def _asked(self, method: str, *args: Any) -> tuple[Session, Any]:
        """What the host answers; asked once more where its session had ended unnoticed."""
        for last in (False, True):
            session = SESSIONS.current(self.address)
            try:
                return session, session.call(HANDLES, method, (self._ident, self._key, *args), {})
            except HostLost as exc:
                if last:
                    raise Expired(f"{self!r}: its host was lost, and with it what it kept ({exc})") from exc
        raise AssertionError("unreachable")


def _mapped(session: Session, ident: str, number: int, header: bytes) -> Array:
    segment = session.channel.replies.segments.pop(number)  # it came ahead of the answer
    _holds(segment.map, session, ident)
    layout, _ = read_header(header)
    array: Array = np.ndarray(layout.shape, layout.dtype, segment.map, 0, None, layout.order)
    segment.close()
    return array


def _holds(owner: Any, session: Session, ident: str) -> None:
    """The reference that the host has counted for us goes with ``owner``."""
    weakref.finalize(owner, session.drop, ident).atexit = False
