"""Results at the caller: the host's segments, and the arrays that lie in them.

Small ones are copied out, larger ones are views. A block goes back to the host when nothing here needs it:
its number is in `released` until a frame takes it along.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from .errors import ProtocolError
from .mapped import Mapped
from .memory import VIEW_FROM
from .roots import Roots, drain
from .tensor import Array, Layout, TensorRef


class Results(Mapped):
    """Where the decoder of one session finds what a reference means."""

    def __init__(self) -> None:
        super().__init__()
        self.views = Roots()
        self.released: deque[int] = deque()

    def view(self, ref: TensorRef, layout: Layout, copy_out: bool) -> Array:
        segment = self.segments.get(ref.segment)
        if segment is None or ref.offset + ref.nbytes > segment.size:
            raise ProtocolError(f"{ref} lies outside the session's segments")
        found: Array = np.ndarray(layout.shape, layout.dtype, segment.map, ref.offset, None, layout.order)
        if copy_out or ref.nbytes <= VIEW_FROM:
            own: Array = np.empty(layout.shape, layout.dtype, layout.order)
            own[...] = found
            self.released.append(ref.block)
            return own
        self.views.add(found, ref)
        return found

    def take(self, ref: TensorRef) -> bytes:
        taken = self.bytes(ref)
        self.released.append(ref.block)
        return taken

    def given_back(self) -> list[int] | None:
        """The blocks that the host may have again, to be told to it; None where there are none."""
        taken = self.views.bury() if self.views.dead else []
        if self.released:
            taken += drain(self.released)
        return taken or None
