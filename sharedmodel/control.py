"""What may be asked of the host itself: object number 0 of every session."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from . import reply
from .errors import BadArgument, NotPermitted
from .process import resident

if TYPE_CHECKING:
    from .objects import Served
    from .peer import Peer
    from .service import Service


class Control:
    """The methods. Each serves the session that calls it."""

    EXPOSED: Final = (
        "create", "describe", "debug_info", "incref", "grow", "models", "number_of_objects", "ping", "shutdown",
        "status",
    )  # fmt: skip

    def __init__(self, service: Service) -> None:
        self._service = service

    def create(self, typeid: str, args: list[Any], kwargs: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
        """Build an object; its number and what is exposed."""
        served, exposed = self._service.objects.create(typeid, tuple(args), kwargs)
        _peer().refs.add(served.ident)
        return served.ident, exposed

    def incref(self, ident: Any) -> None:
        """One reference of this session more. Raises KeyError for an object that is gone."""
        served = self._service.objects.incref(ident)
        _peer().refs.add(served.ident)

    def describe(self, ident: Any) -> dict[str, Any]:
        """What is exposed of an object, and what else its clients should know."""
        return described(self._service.objects.get(ident))

    def grow(self, nbytes: int) -> int | None:
        """A further segment for this session's arguments; None when it may have no more."""
        if type(nbytes) is not int or nbytes <= 0:
            raise BadArgument(f"a segment of {nbytes!r} bytes")
        return _peer().room.add_requests(nbytes)

    def models(self) -> dict[str, dict[str, Any]]:
        """The named objects."""
        return {served.ident: self.describe(served.ident) for served in self._service.objects.named()}

    def number_of_objects(self) -> int:
        return len(self._service.objects.counted())

    def debug_info(self) -> str:
        lines = [f"  {s.ident}:       refcount={s.count}\n    {s.obj!s:.75}" for s in self._service.objects.counted()]
        return "\n".join(sorted(lines))

    def ping(self) -> None:
        """Nothing, there and back."""

    def shutdown(self) -> None:
        """End the host, once this call is answered. Raises NotPermitted for another user."""
        if _peer().foreign:
            raise NotPermitted(f"uid {_peer().who.uid} may call the host's models but not end it")
        self._service.workers.submit(self._service.stop)

    def status(self) -> dict[str, Any]:
        """The host in numbers; memory in bytes."""
        return {
            "pid": os.getpid(),
            "address": self._service.address,
            "memory": resident(),
            "models": self.models(),
            "sessions": self.sessions(),
            **self._service.info,
        }

    def sessions(self) -> list[dict[str, Any]]:
        """Who is connected, and what each holds. Takes no descriptor: there may be none."""
        return [
            {
                "number": peer.number,
                "pid": peer.who.pid,
                "uid": peer.who.uid,
                "calls": len(peer.calls),
                "objects": peer.refs.total,
                "requests": peer.room.request_bytes,
                "replies": peer.room.replies.capacity,
                "unsent": peer.outlet.unsent,
            }
            for peer in list(self._service.peers.values())
            if peer.greeted
        ]


def described(served: Served) -> dict[str, Any]:
    """What clients should know of an object."""
    return {
        "typeid": served.typeid,
        "exposed": tuple(sorted(served.exposed)),
        "idempotent": tuple(sorted(served.idempotent)),
        "permanent": served.permanent,
        **served.info,
    }


def _peer() -> Peer:
    call: Any = reply.current.call
    peer: Peer = call.peer
    return peer
