"""How long jobs took lately: the measure for when to try again."""

from __future__ import annotations

from typing import Final

_WEIGHT: Final = 0.2
_UNKNOWN: Final = 1.0  # seconds to say while nothing has run yet
_LEAST: Final = 0.01
_MOST: Final = 60.0


class Pace:
    """Moving averages of recent runs."""

    __slots__ = ("run", "share")

    def __init__(self) -> None:
        self.run = 0.0  # seconds a run takes
        self.share = 0.0  # seconds of it for each of its jobs

    def note(self, jobs: int, seconds: float) -> None:
        """A run of so many jobs took so long."""
        weight = _WEIGHT if self.run else 1.0
        self.run += weight * (seconds - self.run)
        self.share += weight * (seconds / jobs - self.share)

    def until_room(self, waiting: int, lanes: int) -> float:
        """Seconds after which half of those that wait will have gone, about."""
        if not self.run:
            return _UNKNOWN
        return min(_MOST, max(_LEAST, self.share * waiting / lanes / 2))
