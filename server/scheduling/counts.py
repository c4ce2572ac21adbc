"""What a model's lanes have done so far, and who wants to hear of it as it happens."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Turned = Literal["refused", "expired", "cancelled"]


class Observer(Protocol):
    """Hears what happens, on the thread on which it happens. It must be quick; what it raises is logged."""

    def batch(self, size: int, waited: float, took: float) -> None:
        """So many jobs ran together for ``took`` seconds, after waiting ``waited`` seconds in all."""

    def turned_away(self, why: Turned) -> None:
        """One job ended without having run."""


@dataclass
class Counts:
    """Numbers of jobs, but for the seconds and for ``batches``, which has how many there were of each size."""

    waiting: int = 0
    running: int = 0
    served: int = 0
    refused: int = 0
    expired: int = 0
    cancelled: int = 0
    waited_seconds: float = 0.0
    run_seconds: float = 0.0
    batches: Counter[int] = field(default_factory=Counter)

    def batch(self, size: int, waited: float, took: float) -> None:
        self.served += size
        self.batches[size] += 1
        self.waited_seconds += waited
        self.run_seconds += took

    def turned_away(self, why: Turned) -> None:
        setattr(self, why, getattr(self, why) + 1)

    def describe(self) -> dict[str, Any]:
        """As plain data; ``batches`` by how many jobs ran together, as text."""
        return dataclasses.asdict(self) | {"batches": {str(size): n for size, n in sorted(self.batches.items())}}

    def at(self, waiting: int, running: int) -> Counts:
        """A copy, with what waits and runs at this moment."""
        return dataclasses.replace(self, waiting=waiting, running=running, batches=Counter(self.batches))
