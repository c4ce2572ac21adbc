"""Which model's object each name stands for at the moment: it stays until another takes its place.

A name may go on standing for what is configured no more, for as long as what comes after it loads.
"""

from __future__ import annotations

from collections.abc import Callable

from sharedmodel.objects import Objects, Served

from .ward import Ward


class Signs:
    """The names of a host's models, as `objects` serves them. Its `table` calls it under its lock."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._wards: dict[str, Ward] = {}

    def announce(self, name: str, wait: Callable[[], Served]) -> None:
        """Calls wait while the name stands for nothing."""
        self._objects.announce(name, wait)

    def put(self, ward: Ward, served: Served, *names: str) -> None:
        """These stand for a ward's object, and so do those that stood for the one before it."""
        names = (*names, *self.of(ward))
        self._objects.put(served, *names)
        self._wards.update(dict.fromkeys(names, ward))

    def hide(self, *names: str) -> None:
        """They stand for nothing: calls wait."""
        for name in names:
            self._wards.pop(name, None)
        self._objects.retract(*names, keep_announced=True)

    def remove(self, *names: str) -> None:
        """There are no such names any more."""
        self.hide(*names)
        self._objects.retract(*names)

    def of(self, ward: Ward) -> list[str]:
        """The names that stand for this ward's object."""
        return [name for name, shown in self._wards.items() if shown is ward]

    def own(self, ward: Ward) -> Served | None:
        """A ward's object, where it is shown by its own name."""
        return self.served(ward.name) if self._wards.get(ward.name) is ward else None

    def ward(self, name: str) -> Ward | None:
        """Whose object a name stands for."""
        return self._wards.get(name)

    def served(self, name: str) -> Served | None:
        """The object that a name stands for."""
        return self._objects.published(name) if name in self._wards else None
