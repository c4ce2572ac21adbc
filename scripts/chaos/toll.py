"""What came of a storm."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

FIRM: Final = 4 << 20  # bytes by which the supervisor's memory may vary


@dataclass
class Toll:
    """Counts, and notes for people on everything that should not have been."""

    seed: int
    kills: dict[str, int] = field(default_factory=dict)
    calls: int = 0
    wrong: int = 0
    failed: int = 0
    hung: int = 0
    slowest: float = 0.0  # seconds
    outages: dict[str, list[float]] = field(default_factory=dict)  # seconds from a kill to the next answer
    leaks: list[str] = field(default_factory=list)
    grown: int = 0  # bytes, of the supervisor
    notes: list[str] = field(default_factory=list)

    def killed(self, what: str) -> None:
        """One more."""
        self.kills[what] = self.kills.get(what, 0) + 1

    @property
    def clean(self) -> bool:
        """Whether nothing at all went wrong."""
        return not (self.wrong or self.failed or self.hung or self.leaks or self.notes or self.grown > FIRM)

    def __str__(self) -> str:
        told = {name: value for name, value in vars(self).items() if name not in ("outages", "notes")}
        return "\n".join([*(f"{name}: {value}" for name, value in told.items()), *self.notes])
