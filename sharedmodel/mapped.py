"""The peer's segments of a session, as this side maps them."""

from __future__ import annotations

from .errors import ProtocolError
from .segment import Segment
from .tensor import TensorRef


class Mapped:
    """The peer's segments as this side sees them."""

    def __init__(self) -> None:
        self.segments: dict[int, Segment] = {}

    def add(self, number: int, segment: Segment) -> None:
        self.segments[number] = segment

    def checked(self, ref: TensorRef) -> Segment:
        """The segment of a reference. Raises ProtocolError for one that lies outside."""
        segment = self.segments.get(ref.segment)
        if segment is None or ref.offset + ref.nbytes > segment.size:
            raise ProtocolError(f"{ref} lies outside the session's segments")
        return segment

    def bytes(self, ref: TensorRef) -> bytes:
        return self.checked(ref).map[ref.offset : ref.offset + ref.nbytes]
