"""What each model is known to take."""

from __future__ import annotations


class Ledger:
    """Bytes by model. Not thread-safe: it belongs to whoever decides about loads."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def loaded(self, name: str, before: int, after: int) -> None:
        """Note a load: the memory of its process (PSS, or RSS) before and after.

        Where two models load at once in a process, each seems to take both: never too little. Less after
        than before says nothing (something else was let go meanwhile) and is not noted.
        """
        if after > before:
            self._known[name] = after - before

    def grew(self, name: str, taken: int) -> None:
        """Note that a model was seen to take so much while it worked; the most that was seen stays."""
        self._known[name] = max(taken, self._known.get(name, 0))

    def forget(self, name: str) -> None:
        """Its options or files changed: it is unknown again."""
        self._known.pop(name, None)

    def need(self, name: str, estimate: int) -> int:
        """What the next load will take: as measured; ``estimate`` before the first."""
        return self._known.get(name, estimate)
