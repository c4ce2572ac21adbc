"""What a host serves: objects by number or name, what of each is exposed, and who refers to it.

An object made by a client lives while some session refers to it; a named one (a model) as long as the
host. References hang on sessions, so those of a killed client go with its socket.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, Protocol

from .errors import NotExposed, UnknownObject, UnknownTypeid

FALLBACKS: Final = ("__str__", "__repr__", "#GETVALUE")


class Registration(NamedTuple):
    """How objects of a typeid are made and what of them is exposed (as in ``BaseManager.register``)."""

    callable: Callable[..., Any] | None
    exposed: tuple[str, ...] | None = None
    method_to_typeid: dict[str, str] | None = None
    proxytype: Any = None


class Watch(Protocol):
    """Somebody who wants to know of each call that an object executes."""

    def entered(self, call: Any) -> Any:
        """It begins, on this thread. What is returned is given to `left`."""

    def left(self, token: Any) -> None:
        """It has ended, answered or failed."""


class Turn(Protocol):
    """A thread's turn at an object. ``at_once``: its call runs now; else it may first wait for others."""

    @property
    def at_once(self) -> bool: ...

    def work(self) -> float:
        """Run what is to be run. The seconds that the first call took, 0 if it ran elsewhere."""


class Schedule(Protocol):
    """Somebody who decides when calls of an object's ``methods`` run, and answers those that never will."""

    @property
    def methods(self) -> frozenset[str]: ...

    @property
    def gathers(self) -> bool:
        """Whether calls that came at the same time should be admitted together, since they may run together."""

    @property
    def brief(self) -> bool:
        """Whether its runs take so little time that the loop may wait for one."""

    def admit(self, *calls: Any) -> Turn | None:
        """Take calls in. None: they wait, or were refused; else a turn that must be worked off on some thread."""


class Served:
    """One object and what may be called on it. ``gate`` is held while an item of a stream is made, if it has one."""

    __slots__ = (
        "count",
        "exposed",
        "gate",
        "idempotent",
        "ident",
        "info",
        "method_to_typeid",
        "obj",
        "pace",
        "permanent",
        "schedule",
        "typeid",
        "watch",
    )

    def __init__(self, ident: str, typeid: str, obj: Any, exposed: Iterable[str]) -> None:
        self.ident = ident
        self.typeid = typeid
        self.obj = obj
        self.exposed = frozenset(exposed)
        self.method_to_typeid: dict[str, str] = {}
        self.idempotent: frozenset[str] = frozenset()
        self.info: dict[str, Any] = {}
        self.permanent = False
        self.count = 0
        self.pace: dict[str, float] = {}
        self.watch: Watch | None = None
        self.schedule: Schedule | None = None
        self.gate: threading.Semaphore | None = None

    def method(self, name: str) -> Callable[..., Any]:
        """The bound method. Raises NotExposed for one that is not exposed."""
        if name not in self.exposed:
            fallback = PLAIN.get(name)
            if fallback is not None:
                return lambda: fallback(self.obj)
            allowed = ", ".join(sorted(self.exposed))
            raise NotExposed(f"method {name!r} of {self.typeid!r} is not exposed; exposed are: {allowed}")
        found: Callable[..., Any] = getattr(self.obj, name)
        return found


PLAIN: Final[dict[str, Callable[[Any], Any]]] = {
    "__str__": str,
    "__repr__": repr,
    "#GETVALUE": lambda obj: obj,
}


class Objects:
    """The table. Thread-safe; nothing is built or destroyed under its lock."""

    def __init__(self, registry: dict[str, Registration] | None = None) -> None:
        self.registry: dict[str, Registration] = dict(registry or {})
        self._lock = threading.Lock()
        self._by_ident: dict[str, Served] = {}
        self._ident_of: dict[int, str] = {}
        self._announced: dict[str, Callable[[], Served]] = {}
        # A number from an earlier host must not name an object of this one.
        self._prefix = os.urandom(4).hex()
        self._next = 0

    def get(self, ident: Any) -> Served:
        """The object. Raises KeyError for one that is gone or never was."""
        try:
            return self._by_ident[ident]
        except (KeyError, TypeError):
            raise self._unknown(ident) from None

    def published(self, name: str) -> Served | None:
        """The object that a name stands for at this moment, if it is served."""
        return self._by_ident.get(name)

    def create(self, typeid: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Served, tuple[str, ...]]:
        """Build an object of a registered typeid, and what is exposed of it.

        It has one reference more, the caller's. The same object under two typeids is one with two proxies.
        """
        registration = self._registration(typeid)
        if registration.callable is None:
            if kwargs or len(args) != 1:
                raise ValueError("Without callable, must have one non-keyword argument")
            obj = args[0]
        else:
            obj = registration.callable(*args, **kwargs)
        return self._adopt(typeid, obj, registration)

    def _adopt(self, typeid: str, obj: Any, registration: Registration) -> tuple[Served, tuple[str, ...]]:
        exposed = public_methods(obj) if registration.exposed is None else list(registration.exposed)
        exposed = sorted({*exposed, *(registration.method_to_typeid or ())})
        with self._lock:
            ident = self._ident_of.get(id(obj))
            if ident is None:
                self._next += 1
                ident = self._ident_of[id(obj)] = f"{self._prefix}-{self._next}"
                self._by_ident[ident] = Served(ident, typeid, obj, ())
            served = self._by_ident[ident]
            served.exposed |= set(exposed)
            served.method_to_typeid = {**served.method_to_typeid, **(registration.method_to_typeid or {})}
            served.count += 1
        return served, tuple(exposed)

    def publish(
        self,
        name: str,
        obj: Any,
        *,
        exposed: Iterable[str] | None = None,
        idempotent: Iterable[str] = (),
        method_to_typeid: dict[str, str] | None = None,
        info: dict[str, Any] | None = None,
    ) -> Served:
        """Serve an object under a name for as long as the host lives. A name in use is replaced."""
        served = Served(name, name, obj, public_methods(obj) if exposed is None else exposed)
        served.idempotent = frozenset(idempotent)
        served.method_to_typeid = dict(method_to_typeid or {})
        served.info = dict(info or {})
        self.put(served, name)
        return served

    def put(self, served: Served, *names: str) -> None:
        """Serve what is there already under one name or several, all at the same moment.

        A name in use is replaced: calls that run go on, the next ones come here.
        """
        served.permanent = True
        with self._lock:
            self._by_ident.update(dict.fromkeys(names, served))

    def announce(self, name: str, wait: Callable[[], Served]) -> None:
        """A name that will be served: calls to it meanwhile run ``wait`` on a worker thread.

        It returns the object once it is published, or raises why it never will be.
        """
        self._announced[name] = wait

    def announced(self, ident: Any) -> Callable[[], Served] | None:
        """How to wait for a name that is not served yet, or None."""
        return self._announced.get(ident) if isinstance(ident, str) else None

    def retract(self, *names: str, keep_announced: bool = False) -> None:
        """Serve names no longer. Calls that run go on; a name that is not served is fine.

        With ``keep_announced`` the next call waits for it as it did before it was published.
        """
        with self._lock:
            for name in names:
                self._by_ident.pop(name, None)
        if not keep_announced:
            for name in names:
                self._announced.pop(name, None)

    def incref(self, ident: Any) -> Served:
        """One reference more. Raises KeyError for an object that is gone."""
        with self._lock:
            served = self._by_ident.get(ident)
            if served is not None:
                served.count += 1
                return served
        raise self._unknown(ident)

    def decref(self, ident: Any, count: int = 1) -> Any:
        """References fewer; the object when that was its last, for the caller to let go of off the lock."""
        with self._lock:
            served = self._by_ident.get(ident)
            if served is None:
                return None
            served.count -= count
            if served.count > 0 or served.permanent:
                return None
            del self._by_ident[served.ident]
            self._ident_of.pop(id(served.obj), None)
            return served.obj

    def counted(self) -> list[Served]:
        """Objects that live by references."""
        with self._lock:
            return [served for served in self._by_ident.values() if not served.permanent]

    def named(self) -> list[Served]:
        """Objects that live as long as the host."""
        with self._lock:
            return [served for served in self._by_ident.values() if served.permanent]

    def _registration(self, typeid: str) -> Registration:
        try:
            return self.registry[typeid]
        except (KeyError, TypeError):
            known = ", ".join(sorted(self.registry)) or "none"
            raise UnknownTypeid(f"typeid {typeid!r} is not registered; registered are: {known}") from None

    def _unknown(self, ident: Any) -> UnknownObject:
        with self._lock:
            names = ", ".join(sorted(name for name, served in self._by_ident.items() if served.permanent)) or "none"
        shown = repr(ident) if type(ident) is str else f"of {type(ident)}"  # an int of 5000 digits has no repr
        gone = "it was dropped, or its host was restarted"
        return UnknownObject(f"no object {shown:.80} here ({gone}); by name: {names}")


def public_methods(obj: Any) -> list[str]:
    """The callables of an object that do not begin with an underscore."""
    return [name for name in dir(obj) if not name.startswith("_") and callable(getattr(obj, name))]
