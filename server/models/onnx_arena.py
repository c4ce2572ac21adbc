"""When an onnxruntime session gives back what its arena holds and does not use: it can do so at the end of a run only.

An arena keeps the most that any run has needed. So a run whose inputs are much larger than is usual shrinks it,
and the next one too: what onnxruntime made for the caller of the large one may have lain in the arena until then.
What is usual is known after some runs only, and changes: where one before was much larger, it is shrunk as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

ENTRY: Final = "memory.enable_memory_arena_shrinkage"
CPU: Final = "cpu:0"
OUTLIER: Final = 4  # times what is usual
KNOWN_AFTER: Final = 8  # runs, of which the middle one is usual; the first ones are canaries and warm-ups
# What is large twice in a row is soon usual; what was usual stays so for a while.
_UP: Final = 1 / 4
_DOWN: Final = 1 / 64


class Arena:
    """Of one session. Not exact where runs overlap: then one shrinks more, or less, and no answer is different."""

    def __init__(self, names: str = CPU) -> None:
        """``names``: the arenas that the session has, as `onnx_device.arenas` has them; one that it has not fails a
        run that shall shrink it."""
        self._names = names
        self._asked = False
        self._first: list[int] = []
        self._usual = 0.0
        self._most = 0  # since it was shrunk

    def shrink(self) -> None:
        """Have the next run do it."""
        self._asked = True

    def begins(self, options: Any, arrays: Iterable[Any]) -> None:
        """A run begins, with RunOptions that may say more afterwards."""
        nbytes = 0
        for array in arrays:
            nbytes += getattr(array, "nbytes", 0)
        asked, self._asked = self._asked, self.note(nbytes)
        if self._names and (asked or self._asked):
            options.add_run_config_entry(ENTRY, self._names)

    def note(self, nbytes: int) -> bool:
        """The size of a run's inputs; whether the arena holds what an outlier needed, this run or one before."""
        self._most = max(self._most, nbytes)
        if len(self._first) < KNOWN_AFTER:
            self._first.append(nbytes)
            if len(self._first) < KNOWN_AFTER:
                return False
            self._usual = sorted(self._first)[KNOWN_AFTER // 2]
        most = OUTLIER * self._usual
        found = self._most > most
        self._usual += (min(nbytes, most) - self._usual) * (_UP if nbytes > self._usual else _DOWN)
        if found:
            self._most = 0
        return found


def values(feed: Any) -> Iterable[Any]:
    """The arrays of a feed; nothing where it is none, which onnxruntime will say."""
    return feed.values() if type(feed) is dict or isinstance(feed, Mapping) else ()
