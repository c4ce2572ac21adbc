"""Proxies: light objects that stand for one in a host. They pickle by reference, never by value.

    Token            typeid, address, number: all that a proxy is
    BaseProxy        `_callmethod`, `_getvalue`; base of the others and of users' own
    AutoProxy        a proxy with a method for each that the host exposes
    MakeProxyType    the class of such a proxy

The interface is that of ``multiprocessing.managers``. A proxy holds one reference to its object, by
the session of its process; a copy unpickled elsewhere takes one of its own.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .errors import SharedModelError
from .sessions import SESSIONS

if TYPE_CHECKING:
    from .session import Session

SERIALIZER: Final = "msgpack"
_TYPES_MOST: Final = 1024


class Token(NamedTuple):
    """Which object: its typeid, the address of its host, its number there."""

    typeid: str
    address: str
    id: str


class _Granted(threading.local):
    """The token whose reference has been counted already: the proxy that is being made takes it over."""

    token: Token | None = None


_GRANTED: Final = _Granted()


class BaseProxy:
    """A stand-in for an object in a host.

    ``_callmethod(name, args, kwds)`` calls a method of it, ``_getvalue()`` fetches a copy. Signature
    and use are those of ``multiprocessing.managers.BaseProxy``.
    """

    _exposed_: tuple[str, ...] | None = None
    _kind_ = ""

    def __init__(
        self,
        token: Token,
        serializer: str = SERIALIZER,
        manager: Any = None,
        authkey: bytes | None = None,
        exposed: Sequence[str] | None = None,
        incref: bool = True,
        manager_owned: bool = False,
    ) -> None:
        self._token = token
        self._id = token.id
        self._serializer = serializer
        self._manager = manager
        self._owned_by_manager = manager_owned
        if exposed is not None and type(self)._exposed_ is None:
            self._exposed_ = tuple(exposed)
        self._close: Callable[[], Any] | None = None
        self._owner = os.getpid()
        if authkey is not None:
            SESSIONS.remember(token.address, authkey)
        if token is _GRANTED.token:
            _GRANTED.token = None
            self._watch()
        elif incref:
            self._incref()
        else:
            self._watch()
        # A child of multiprocessing takes a reference of its own, as with the standard library; without
        # multiprocessing in the process there is no such child.
        if (util := sys.modules.get("multiprocessing.util")) is not None and not manager_owned:
            util.register_after_fork(self, BaseProxy._after_fork)

    # -- calls ---------------------------------------------------------------------------------------

    def _callmethod(self, methodname: str, args: Sequence[Any] = (), kwds: dict[str, Any] = {}) -> Any:  # noqa: B006
        """The result of a method of the referent; raises what it raises."""
        value = self._session().call(self._id, methodname, tuple(args), kwds)
        return _of_its_type(value, self._manager) if isinstance(value, BaseProxy) else value

    def _getvalue(self) -> Any:
        """A copy of the referent. Raises CannotCross (a TypeError) when it is of a type that does not cross."""
        return self._callmethod("#GETVALUE")

    def _session(self) -> Session:
        return SESSIONS.current(self._token.address)

    # -- references ----------------------------------------------------------------------------------

    def _incref(self) -> None:
        if not self._owned_by_manager:
            self._session().control("incref", self._id)
            self._watch()

    def _watch(self) -> None:
        if not self._owned_by_manager:
            session = self._session()
            self._close = weakref.finalize(self, _drop, weakref.ref(session), self._id)
            self._close.atexit = False  # the socket's end drops all

    def _after_fork(self) -> None:
        if self._owner == os.getpid():
            return  # unpickled in this process, which counted it then
        self._owner = os.getpid()
        self._manager = None
        with contextlib.suppress(SharedModelError, KeyError):  # told at the first use instead
            self._incref()

    # -- as a value ----------------------------------------------------------------------------------

    def __reduce__(self) -> Any:
        cls = type(self)
        key = _key_for_a_child(self._token.address)
        if is_made(cls):
            return _rebuild_auto, (tuple(self._token), self._exposed_, self._kind_, *key)
        return _rebuild, (cls, tuple(self._token), self.__dict__.get("_exposed_"), *key)

    def __deepcopy__(self, memo: Any) -> Any:
        return self._getvalue()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} object, typeid {self._token.typeid!r} at {id(self):#x}>"

    def __str__(self) -> str:
        try:
            return str(self._callmethod("__repr__"))
        except Exception:
            return repr(self)[:-1] + "; '__str__()' failed>"


def _drop(session_ref: weakref.ref[Session], ident: str) -> None:
    session = session_ref()
    if session is not None and session.alive:
        session.drop(ident)


def _key_for_a_child(address: str) -> tuple[bytes, ...]:
    # As the standard library does: what goes to a child that is being started goes through a pipe that only
    # it reads, and that brings it this process's own key too. No other pickle holds a key.
    context = sys.modules.get("multiprocessing.context")
    if context is None or context.get_spawning_popen() is None:
        return ()
    key = SESSIONS.key(address)
    return () if key is None else (key,)


def _rebuild(cls: type[BaseProxy], token: tuple[str, str, str], exposed: Any, key: bytes | None = None) -> BaseProxy:
    SESSIONS.remember(token[1], key)
    kwargs = {} if exposed is None else {"exposed": exposed}
    return cls(Token(*token), SERIALIZER, **kwargs)


def _rebuild_auto(
    token: tuple[str, str, str], exposed: tuple[str, ...], kind: str = "", key: bytes | None = None
) -> BaseProxy:
    SESSIONS.remember(token[1], key)
    proxy = AutoProxy(Token(*token), SERIALIZER, exposed=exposed)
    proxy._kind_ = kind
    return proxy


def MakeProxyType(name: str, exposed: Sequence[str], _cache: dict[Any, Any] = {}) -> type[BaseProxy]:  # noqa: B006
    """A proxy class with a method for each name in ``exposed``."""
    exposed = tuple(exposed)
    found: type[BaseProxy] | None = _cache.get((name, exposed))
    if found is None:
        body: dict[str, Any] = {method: _forward(method) for method in exposed}
        body["__module__"] = sys._getframe(1).f_globals.get("__name__")  # where it will be found, to be pickled
        found = type(name, (BaseProxy,), {**body, "_exposed_": exposed, "_made_": True})
        if len(_cache) >= _TYPES_MOST:
            _cache.clear()
        _cache[name, exposed] = found
    return found


def _forward(method: str) -> Callable[..., Any]:
    def call(self: BaseProxy, /, *args: Any, **kwds: Any) -> Any:
        return self._callmethod(method, args, kwds)

    call.__name__ = method
    call.__qualname__ = method
    return call


def is_made(cls: type) -> bool:
    """Whether a class is one that `MakeProxyType` made, and not one derived from it."""
    return "_made_" in vars(cls)


def _of_its_type(proxy: BaseProxy, manager: Any) -> BaseProxy:
    """The same reference as the proxy type that the manager has registered for its typeid, or as that it was of."""
    registration = getattr(manager, "_registry", {}).get(proxy._token.typeid)
    proxytype = loaded_type(proxy._kind_) if registration is None else registration.proxytype
    if proxytype in (None, AutoProxy, type(proxy)) or not is_made(type(proxy)) or proxy._owned_by_manager:
        proxy._manager = manager
        return proxy
    if proxy._close is not None:
        proxy._close.detach()  # type: ignore[attr-defined]
    made: BaseProxy = granted(proxytype, proxy._token, manager=manager, exposed=proxy._exposed_)
    return made


def loaded_type(kind: str) -> Any:
    """The proxy class of that name if this process has loaded it. Nothing is imported."""
    module, _, path = kind.partition(":")
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) and issubclass(found, BaseProxy) else None


def granted(proxytype: Callable[..., Any], token: Token, **kwargs: Any) -> Any:
    """A proxy that takes over a reference which is counted already, whatever its constructor takes."""
    _GRANTED.token = token
    try:
        return proxytype(token, SERIALIZER, **kwargs)
    finally:
        if _GRANTED.token is token:  # it failed, or did not want it
            _GRANTED.token = None
            SESSIONS.current(token.address).drop(token.id)


def AutoProxy(
    token: Token,
    serializer: str = SERIALIZER,
    manager: Any = None,
    authkey: bytes | None = None,
    exposed: Sequence[str] | None = None,
    incref: bool = True,
    manager_owned: bool = False,
) -> BaseProxy:
    """A proxy with a method for everything that the host exposes of the object."""
    if authkey is not None:
        SESSIONS.remember(token.address, authkey)
    if exposed is None:
        exposed = SESSIONS.current(token.address).control("describe", token.id)["exposed"]
    kind = MakeProxyType(f"AutoProxy[{token.typeid}]", exposed)
    return kind(token, serializer, manager=manager, incref=incref, manager_owned=manager_owned)
