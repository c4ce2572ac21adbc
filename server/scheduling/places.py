"""The places of a bounded queue, so shared out that nobody takes them all.

A client may have four times as many places as are left: alone it gets four fifths of the queue, and who
comes then still finds some. Precedent: dynamic queue thresholds (Choudhury and Hahne, 1998).
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

SHARE: Final = 4


class Places:
    """How many places each client has."""

    __slots__ = ("_held", "_left")

    def __init__(self, number: int) -> None:
        self._left = number
        self._held: dict[Hashable, int] = {}

    def __len__(self) -> int:
        """How many clients have any."""
        return len(self._held)

    def free_for(self, client: Hashable) -> bool:
        """Whether this client may have one more."""
        return self._left > 0 and self._held.get(client, 0) < SHARE * self._left

    def take(self, client: Hashable) -> None:
        self._left -= 1
        self._held[client] = self._held.get(client, 0) + 1

    def give_back(self, client: Hashable) -> None:
        self._left += 1
        self._held[client] -= 1
        if not self._held[client]:
            del self._held[client]
