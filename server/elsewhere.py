"""The models of the other hosts, as the first one knows them: its supervisor tells it of every change."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from .names import model_of
from .settings import ModelSettings


class Elsewhere:
    """Where they are served and how they stand. Replaced as a whole, so it needs no lock.

    ``changing`` is held while a model may be neither here nor there any more: a new configuration is being come to.
    """

    def __init__(self, told: dict[str, Any]) -> None:
        self.changing = threading.Lock()
        self._told = told

    def update(self, told: dict[str, Any]) -> None:
        self._told = told

    def names(self) -> Iterable[str]:
        return self._told.keys()

    def states(self) -> dict[str, dict[str, Any]]:
        """Each one's state."""
        return {name: told["state"] for name, told in self._told.items()}

    def settings(self) -> dict[str, ModelSettings]:
        """What each is made of."""
        return {name: ModelSettings(**told["settings"]) for name, told in self._told.items()}

    def where(self, name: Any) -> dict[str, Any] | None:
        """The addresses of a model's hosts, and their cells on the board; None for a model that is here.

        A version of a model is where that one is.
        """
        told = self._told.get(model_of(name)) if isinstance(name, str) else None
        return None if told is None else {key: told[key] for key in ("addresses", "cells", "board", "directory")}
