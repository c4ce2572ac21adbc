"""What a session refers to in the host, and the proxies that carry such a reference to its client.

The table of objects counts (see `objects`); here is noted which of its counts are this session's, so that
they go when it goes.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from .crossing import ProxyRef, kind_of
from .proxy import BaseProxy

if TYPE_CHECKING:
    from .service import Service


class References:
    """The references of one session. Thread-safe."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._lock = threading.Lock()
        self._counts: dict[Any, int] = {}
        self._closed = False

    def add(self, ident: Any) -> None:
        """Note a reference that the table has counted already."""
        with self._lock:
            if not self._closed:
                self._counts[ident] = self._counts.get(ident, 0) + 1
                return
        self._service.let_go(ident, 1)

    def drop(self, ident: Any) -> None:
        """One reference fewer. One that the session does not have is fine: it is gone already."""
        with self._lock:
            left = self._counts.get(ident, 0) - 1
            if left < 0:
                return
            if left:
                self._counts[ident] = left
            else:
                del self._counts[ident]
        self._service.let_go(ident, 1)

    @property
    def total(self) -> int:
        with self._lock:
            return sum(self._counts.values())

    def proxy_bytes(self, value: Any) -> bytes | None:
        """A proxy on its way to the client; one of this host's objects takes its reference along."""
        packed = self._service.proxy_bytes(value)
        if packed is not None and isinstance(value, BaseProxy) and value._token.address == self._service.address:
            self.add(self._service.objects.incref(value._token.id).ident)
        return packed

    def as_proxy(self, typeid: str, value: Any) -> ProxyRef:
        """Serve a result under a typeid, made by its callable if it has one; the client gets a proxy."""
        objects = self._service.objects
        served, exposed = objects.create(typeid, (value,), {})
        self.add(served.ident)
        return ProxyRef(
            typeid, self._service.address, served.ident, exposed, kind_of(objects.registry[typeid].proxytype)
        )

    def close(self) -> None:
        """Let go of all. Idempotent."""
        with self._lock:
            self._closed = True
            counts, self._counts = self._counts, {}
        for ident, count in counts.items():
            self._service.let_go(ident, count)
