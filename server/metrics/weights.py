"""What each model of this process takes of its memory: by how much the process grew while it was loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..lifecycle import LOADING, READY, WARMING
from ..machine.ledger import Ledger
from ..machine.own import own_memory
from ..names import full_name


class Weights:
    """Hears of each change of the models' states, before a load begins and when it is over.

    The first model of a library counts with the library; models that load at the same time count both.
    """

    def __init__(self, measure: Callable[[], int] = lambda: own_memory().pss) -> None:
        self._measure = measure
        self._ledger = Ledger()
        self._before: dict[str, int] = {}

    def look(self, states: Mapping[str, Mapping[str, Any]]) -> None:
        """Take note of the states as they are now."""
        for name, told in _each(states):
            loads = told["state"] in (LOADING, WARMING) or "replacement" in told
            if loads and name not in self._before:
                self._before[name] = self._measure()
            elif not loads and name in self._before:
                before = self._before.pop(name)
                if told["state"] == READY:
                    self._ledger.loaded(name, before, self._measure())
            if not loads and told["state"] != READY:
                self._ledger.forget(name)

    def told(self) -> dict[str, int]:
        """Bytes by model, versions by their full names; of those that are loaded, as far as it is known."""
        return self._ledger.known()


def _each(states: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, told in states.items():
        if "versions" not in told:
            yield name, told
        for version, own in told.get("versions", {}).items():
            yield full_name(name, version), own
