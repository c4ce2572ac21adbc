"""Arguments that the host's models keep beyond their call (see `kept` for the host's side).

HELD     goes ahead of an answer: these blocks of the call, each under a ticket, are not free yet
RELEASE  comes once a model has let go, which may be before the answer that HELD goes with is here
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from .memory import Owner
from .tensor import TensorRef


class Lent:
    """The blocks of one session's arguments that the host still refers to."""

    def __init__(self, requests: Owner) -> None:
        self.early: set[int] = set()  # tickets that were let go while the reply that names them is on its way
        self._requests = requests
        self.held: dict[int, list[list[int]]] = {}
        self._kept: dict[int, int] = {}

    def hold(self, rid: int, held: list[list[int]]) -> None:
        """The answer of a call will leave these behind: ``[block, ticket]`` each."""
        self.held.setdefault(rid, []).extend(held)

    def without_held(self, rid: int, refs: Sequence[TensorRef]) -> Sequence[TensorRef]:
        """A call has been answered: of the blocks it sent, those that are free."""
        staying: Counter[int] = Counter()
        for serial, ticket in self.held.pop(rid, ()):
            if ticket in self.early:
                self.early.discard(ticket)
                continue
            # One pin of the block stays until the host lets go.
            self._kept[ticket] = serial
            staying[serial] += 1
        if not staying:
            return refs
        free = []
        for ref in refs:
            if staying[ref.block] > 0:
                staying[ref.block] -= 1
            else:
                free.append(ref)
        return free

    def let_go(self, tickets: list[int]) -> None:
        for ticket in tickets:
            if (serial := self._kept.pop(ticket, None)) is not None:
                self._requests.unpin(serial)
            else:
                self.early.add(ticket)
