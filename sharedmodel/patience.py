"""Whether to look for a while before going to sleep.

Waking a core that sleeps takes 20 µs and more on a virtual machine, longer than a quick call does
altogether. So a wait that will probably be short is spent looking; one that lately took long is slept
through at once, and the cores are left to those who have work.
"""

from __future__ import annotations

import os
from typing import Final

LOOKS: Final = 300  # of a third of a microsecond each, about
WORTH: Final = 100e-6  # seconds a wait takes on average, up to which looking is worth it
_LONGEST: Final = 4 * WORTH  # what a longer wait counts as, so that one of them is soon forgotten
_WEIGHT: Final = 0.2


class Patience:
    """Remembers how long waits took."""

    __slots__ = ("_mean", "_most", "looks")

    def __init__(self) -> None:
        self._mean = 0.0
        self._most = LOOKS if len(os.sched_getaffinity(0)) > 1 else 0
        self.looks = self._most  # how many times to look before sleeping

    def note(self, seconds: float) -> None:
        """A wait took so long, slept or not."""
        mean = self._mean + _WEIGHT * ((seconds if seconds < _LONGEST else _LONGEST) - self._mean)
        self._mean = mean
        self.looks = self._most if mean < WORTH else 0
