"""What the calls of a host's models came to: how many, how they ended, how long they took.

Each thread has cells of its own, one for each model, method and outcome, and writes to no other: no lock is
taken for a call. Who asks adds them up.

    wait      from the call's frame to the beginning of its execution
    batch     joining its inputs with those of others, where it ran in a batch
    infer     its execution
    transfer  packing its result into shared memory
    total     from the frame to the answer

Only calls that were executed have stages. An iterator that a method returns belongs to its execution.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from sharedmodel.call import Call
from sharedmodel.errors import NotExposed
from sharedmodel.objects import FALLBACKS, Objects

from .cell import Cell, Sum
from .outcome import outcome_of
from .stages import OK, UNKNOWN

QUICK: Final = 200e-6  # seconds, from the frame to the result; as in `sharedmodel.turns`

_Key = tuple[Any, str, str]


class _Mine(threading.local):
    """The cells of the thread that asks."""

    def __init__(self, register: Callable[[dict[_Key, Cell]], None]) -> None:
        self.cells: dict[_Key, Cell] = {}
        self.quick: dict[str, dict[str, Cell]] = {}  # by model and method, of those that end well
        register(self.cells)


class Meter:
    """Counts the calls of one host."""

    def __init__(self, objects: Objects, clock: Callable[[], float] = time.monotonic) -> None:
        self._objects = objects
        self._clock = clock
        self._lock = threading.Lock()
        self._threads: list[tuple[threading.Thread, dict[_Key, Cell]]] = []
        self._gone: dict[_Key, Sum] = {}  # of threads that have ended
        self._mine = _Mine(self._register)

    def ended(self, call: Call) -> None:
        """Count a call, on the thread that answers it."""
        quick = call.made - call.taken < QUICK and call.joined is None and not call.cancelled
        if quick:
            try:
                cell = self._mine.quick[call.ident][call.method]
                if cell.left:
                    cell.left -= 1
                    return
            except KeyError:
                pass
        self._measure(call, quick)

    def _measure(self, call: Call, quick: bool) -> None:
        began, now = call.began, self._clock()
        outcome = outcome_of(call, now)
        cell = self._mine.cells.get((call.ident, call.method, outcome)) or self._cell(call, outcome)
        if cell is None:
            return  # not a model's
        if not began or outcome == NotExposed.code:
            cell.refused += 1
            return
        made = min(call.made, now)
        joined, size = call.joined or (began, 1)
        cell.measure(began - call.taken, joined - began, made - joined, now - made, quick=quick, size=size)

    def _cell(self, call: Call, outcome: str) -> Cell | None:
        """For the first call of its kind on this thread; names that clients made up get no cells of their own."""
        if self._objects.announced(call.ident) is None:
            return None
        method = call.method if self._has(call.ident, call.method) else UNKNOWN
        cell = self._mine.cells.setdefault((call.ident, method, outcome), Cell())
        if outcome == OK:
            self._mine.quick.setdefault(call.ident, {})[method] = cell
        return cell

    def _has(self, model: str, method: str) -> bool:
        try:
            return method in self._objects.get(model).exposed or method in FALLBACKS
        except KeyError:
            return False

    def _register(self, cells: dict[_Key, Cell]) -> None:
        with self._lock:
            self._threads.append((threading.current_thread(), cells))
            self._fold()

    def _fold(self) -> None:
        ended = [cells for thread, cells in self._threads if not thread.is_alive()]
        if ended:
            self._threads = [(thread, cells) for thread, cells in self._threads if thread.is_alive()]
            self._gone = _sums([self._gone, *ended])

    def _all(self) -> dict[_Key, Sum]:
        with self._lock:
            self._fold()
            return _sums([self._gone, *(cells for _, cells in self._threads)])

    # -- what is told ----------------------------------------------------------------------------------

    def told(self) -> dict[str, Any]:
        """All calls since the host began, as plain data.

        ``calls``: model, method, outcome, how many, how many of these never ran. ``stages``: for each model
        and stage its ``seconds`` in all and its ``buckets`` (see `histogram`). ``runs``: for each model how many
        runs there were of each size of batch.
        """
        calls: list[list[Any]] = []
        by_model: dict[str, list[Sum]] = {}
        for (model, method, outcome), found in sorted(self._all().items()):
            calls.append([model, method, outcome, found.calls, found.refused])
            by_model.setdefault(model, []).append(found)
        models = {model: Sum(sums) for model, sums in by_model.items()}
        stages = {model: found.stages() for model, found in models.items()}
        return {"calls": calls, "stages": stages, "runs": {model: found.runs() for model, found in models.items()}}


def _sums(several: Iterable[dict[_Key, Any]]) -> dict[_Key, Sum]:
    found: dict[_Key, list[Any]] = {}
    for cells in several:
        for key, cell in list(cells.items()):  # its thread may add to it at this moment
            found.setdefault(key, []).append(cell)
    return {key: Sum(cells) for key, cells in found.items()}


def under_way(calls: Iterable[Call], objects: Objects) -> dict[str, dict[str, int]]:
    """Of each model with calls at this moment: how many wait and how many are being executed."""
    found: dict[str, dict[str, int]] = {}
    for call in calls:
        if objects.announced(call.ident) is not None:
            counts = found.setdefault(call.ident, {"waiting": 0, "running": 0})
            counts["running" if call.began else "waiting"] += 1
    return found
