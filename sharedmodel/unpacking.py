"""Where a client's frames are unpacked.

    OnLoop   on the thread that serves every session; NotHere for what would hold it up
    Aside    on a worker, for those: a decoder of its own, so that the loop's stays free

Both are where their decoder finds arrays; `inputs` are those that the last message brought.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .decoder import Decoder
from .errors import ProtocolError
from .kept import Input
from .room import COPY_FROM, Room
from .tensor import Array, Layout, TensorRef

Load = Callable[[list[Any]], Any]


class NotHere(ProtocolError):
    """To read this takes long, or waits for another host: not on the loop."""


class OnLoop:
    """The loop's unpacking of one session."""

    def __init__(self, room: Room, load: Load, address: str) -> None:
        """``load`` makes a proxy of its fields; ``address`` is this host's."""
        self.inputs: list[Input] = []
        self.decoder = Decoder(self, writable=False, proxy=self._load)
        self._room = room
        self._load_here = load
        self._address = address

    def view(self, ref: TensorRef, layout: Layout, copy_out: bool) -> Array:
        if self._room.foreign and ref.nbytes > COPY_FROM:
            raise NotHere("an array that is to be copied")
        return self._room.view(ref, layout, self.inputs)

    def take(self, ref: TensorRef) -> bytes:
        if ref.nbytes > COPY_FROM and self._room.requests.checked(ref):
            raise NotHere("bytes that are to be copied")
        return self._room.requests.bytes(ref)

    def _load(self, fields: list[Any]) -> Any:
        if len(fields) == 5 and fields[1] != self._address:
            raise NotHere("a proxy of another host, which is to be asked")
        return self._load_here(fields)


class Aside:
    """The unpacking of one long payload."""

    def __init__(self, room: Room, load: Load) -> None:
        self.inputs: list[Input] = []
        self.decoder = Decoder(self, writable=False, proxy=load)
        self._room = room

    def unpack(self, payload: Any) -> list[Any]:
        """The message in a payload, which may be a reference to it. Raises ProtocolError."""
        return self.decoder.unpack(self.take(payload) if type(payload) is TensorRef else payload)

    def view(self, ref: TensorRef, layout: Layout, copy_out: bool) -> Array:
        return self._room.view(ref, layout, self.inputs)

    def take(self, ref: TensorRef) -> bytes:
        return self._room.requests.bytes(ref)
