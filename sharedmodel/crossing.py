"""Proxies on their way: what crosses for one, and what is made of that at the other end.

    proxy_bytes       typeid, address, number, exposed names, kind: plain values, whoever sends
    load_in_client    what a host sends; its reference has been counted for us
    load_unowned      the same on an event loop
    load_in_host      what a client sends: an object of this host's is called directly

A handle (see `handle`) crosses in the same form; a host's models get the array that it stands for.

Nothing is imported because a peer names it, and nothing that a proxy lives by is replaced.
"""

from __future__ import annotations

import contextlib
import weakref
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgpack

from .errors import ProtocolError, SharedModelError
from .handle import Handle, is_handle
from .namespace import NamespaceProxy
from .proxy import SERIALIZER, AutoProxy, BaseProxy, MakeProxyType, Token, granted, is_made, loaded_type
from .roots import drain
from .sessions import SESSIONS

if TYPE_CHECKING:
    from .service import Service

_FOREIGN_TIMEOUT: Final = 10.0  # seconds in which the host of a proxy that a client passes must answer


class ProxyRef(NamedTuple):
    """A proxy to be: what crosses instead of one."""

    typeid: str
    address: str
    ident: str
    exposed: tuple[str, ...]
    kind: str = ""


def proxy_bytes(value: Any) -> bytes | None:
    """What crosses for a proxy or a handle; None for anything else."""
    fields: tuple[Any, ...]
    if isinstance(value, Handle):
        fields = value.fields
    elif isinstance(value, BaseProxy):
        fields = (*value._token, list(value._exposed_ or ()), value._kind_ or kind_of(type(value)))
    elif isinstance(value, ProxyRef):
        fields = (*value[:3], list(value.exposed), value.kind)
    else:
        return None
    packed: bytes = msgpack.packb(fields)
    return packed


def kind_of(proxytype: Any) -> str:
    """The name by which a user's proxy class is known elsewhere; empty for a proxy with plain methods."""
    if not isinstance(proxytype, type) or is_made(proxytype):
        return ""
    module = "__main__" if proxytype.__module__ == "__mp_main__" else proxytype.__module__
    return f"{module}:{proxytype.__qualname__}"


# What a proxy itself consists of and lives by is never forwarded, whatever a peer says is exposed.
_OWN: Final = frozenset(dir(BaseProxy)) | {"__del__", "__set_name__", "__class_getitem__"}
_OFFERED: Final = frozenset(
    {"__str__", "__repr__", "__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__hash__", "__format__"}
    | set(NamespaceProxy._exposed_ or ())
)


def _checked(fields: list[Any]) -> tuple[Token, tuple[str, ...], str]:
    if len(fields) != 5 or type(fields[3]) is not list:
        raise ProtocolError("a malformed proxy")
    if not all(type(text) is str for text in (*fields[:3], *fields[3], fields[4])):
        raise ProtocolError("a malformed proxy")
    exposed = tuple(name for name in fields[3] if name not in _OWN or name in _OFFERED)
    return Token(*fields[:3]), exposed, fields[4]


class load_in_client:
    """How proxies that come from a host are made: their reference has been counted by it.

    Those of another host are counted there, by `settle`. Whoever loads reads for all threads: no call may
    be made meanwhile, by a constructor of the user's either.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self.unsettled: deque[BaseProxy] = deque()

    def __call__(self, fields: list[Any]) -> Any:
        if is_handle(fields):
            return Handle.of(fields)
        token, exposed, kind = _checked(fields)
        proxytype = loaded_type(kind)
        if proxytype is None or proxytype.__init__ is not BaseProxy.__init__:
            proxytype = AutoProxy
        proxy: BaseProxy
        if token.address == self._address:
            proxy = granted(proxytype, token, exposed=exposed)
        else:
            proxy = proxytype(token, SERIALIZER, exposed=exposed, manager_owned=True)
            self.unsettled.append(proxy)
        proxy._kind_ = kind
        return proxy

    def settle(self) -> None:
        """Count the references to objects of other hosts that have come."""
        for proxy in drain(self.unsettled):
            proxy._owned_by_manager = False
            with contextlib.suppress(SharedModelError, OSError):  # told at its first use instead
                proxy._incref()


def load_unowned(fields: list[Any]) -> Any:
    """A proxy whose reference stays with the session it came by (an event loop's)."""
    if is_handle(fields):
        return Handle.of(fields)
    token, exposed, kind = _checked(fields)
    proxy = AutoProxy(token, exposed=exposed, manager_owned=True)
    proxy._kind_ = kind
    return proxy


def load_in_host(service: Service, fields: list[Any]) -> Any:
    """A proxy that a client sends: to an object here it is direct, and keeps it alive. Of a handle, its array."""
    if is_handle(fields):
        handle = Handle.of(fields)
        return handle.open() if handle.address != service.address else handle.here(service.objects)
    token, exposed, kind = _checked(fields)
    if token.address != service.address:
        SESSIONS.current(token.address, _FOREIGN_TIMEOUT)
        return AutoProxy(token, exposed=exposed)
    served = service.objects.incref(token.id)
    exposed = tuple(name for name in exposed if name in served.exposed)
    proxy = MakeProxyType(f"AutoProxy[{token.typeid}]", exposed)(token, incref=False, manager_owned=True)
    proxy._kind_ = kind
    direct = _Direct(service)
    proxy._session = lambda: direct  # type: ignore[assignment,method-assign,return-value]
    proxy._close = weakref.finalize(proxy, service.let_go_later, served.ident)
    return proxy


class _Direct:
    """Calls from within the host to its own objects: no socket, no copy."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def call(self, ident: str, method: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        return self._service.objects.get(ident).method(method)(*args, **kwargs)
