"""Light objects on their way between a program and its workers: models and handles cross as what they are made of.

They need no question to any host where they arrive, so they are read on the loop as any other value.
"""

from __future__ import annotations

from typing import Any, Final

import msgpack

from sharedmodel.crossing import load_in_client, proxy_bytes
from sharedmodel.errors import ProtocolError
from sharedmodel.handle import Handle, is_handle
from sharedmodel.sessions import SESSIONS

from ..again import directory_of
from ..instances import Instances
from ..model import Model

_MODEL: Final = "#model"


def light_bytes(value: Any) -> bytes | None:
    """What crosses for a model or a proxy; None for anything else."""
    if type(value) is not Model:
        if type(value) is Handle:
            value.renew()  # who sends it may let go of it before the other side opens it
        return proxy_bytes(value)
    where, *rest = value.__reduce__()[1]
    place = where if isinstance(where, str) else list(where.__reduce__()[1])
    key = SESSIONS.key(directory_of(where))
    packed: bytes = msgpack.packb([_MODEL, place, *rest, key])
    return packed


def is_light(fields: list[Any]) -> bool:
    """Whether these are the fields of a model or a handle."""
    return is_handle(fields) or (len(fields) == 7 and fields[0] == _MODEL)


def load_light(fields: list[Any]) -> Model | Handle:
    """The model or the handle again. Raises ProtocolError."""
    if is_handle(fields):
        return Handle.of(fields)
    try:
        _, place, name, info, timeout, priority, key = fields
        where = place if isinstance(place, str) else Instances(*place)
        if key is not None:
            for address in [where] if isinstance(where, str) else [*where.addresses, where.directory]:
                SESSIONS.remember(address, key)
        return Model(where, name, info, timeout, priority)
    except (TypeError, ValueError) as exc:
        raise ProtocolError(f"a malformed model: {exc}") from exc


class LoadResult(load_in_client):
    """How light objects are made of what a worker sends."""

    def __call__(self, fields: list[Any]) -> Any:
        return load_light(fields) if is_light(fields) else super().__call__(fields)
