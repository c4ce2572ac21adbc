"""What clients may ask of the models as a whole: the object published as "#models"."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any, Final

from sharedmodel import reply
from sharedmodel.errors import BadArgument, NotPermitted

from .elsewhere import Elsewhere
from .settings import ModelSettings
from .suspects import Deaths
from .table import Table

NAME: Final = "#models"
EXPOSED: Final = ("states", "describe", "load", "unload", "verdict")
IDEMPOTENT: Final = EXPOSED


class Directory:
    """``loaded`` hears of each model that a client had loaded: a later host shall have it too."""

    def __init__(
        self,
        table: Table,
        elsewhere: Elsewhere,
        deaths: Deaths,
        *,
        embedded: bool,
        loaded: Callable[[str, dict[str, Any]], None] = lambda name, fields: None,
    ) -> None:
        self._table = table
        self._elsewhere = elsewhere
        self._deaths = deaths
        self._embedded = embedded
        self._loaded = loaded

    def states(self) -> dict[str, dict[str, Any]]:
        """Each model's state, kind, and the reason if it failed."""
        return {**self._table.states(), **self._elsewhere.states()}

    def describe(self, name: str) -> dict[str, Any]:
        """What to know of a model, once it is loaded: exposed methods, idempotent ones, files.

        Of a model with hosts of its own: ``{"elsewhere": where they are}``; they know the rest.
        """
        where = self._elsewhere.where(name)
        return self._table.wait(name, self._elsewhere.names()) if where is None else {"elsewhere": where}

    def load(self, name: str, spec: dict[str, Any]) -> None:
        """Begin to serve a file of the user's: ``{"kind": "onnx", "path": "/..."}``.

        Asking again for the same is fine. Only in a host that was started for one user.
        """
        if not self._embedded:
            raise NotPermitted(
                "this server loads the models of its configuration only; "
                f"add a table [models.{name}] to it and send the server SIGHUP"
            )
        from .config import checked_spec  # pydantic: only where it is used

        settings: ModelSettings = checked_spec(name, spec)
        self._table.add(name, settings)
        self._loaded(name, dataclasses.asdict(settings))
        self._table.start(name)

    def verdict(self, pid: int, session: int, request: int) -> dict[str, str] | None:
        """Whether a call that died with host ``pid`` may be sent again: None; else where, and why there."""
        return self._deaths.verdict(pid, session, request)

    def unload(self, name: str) -> None:
        """Let a model go until its next call."""
        call: Any = reply.current.call
        if call is not None and call.peer.who.uid not in (os.geteuid(), 0):
            raise NotPermitted("only the user who runs the server may unload its models")
        if not isinstance(name, str):
            raise BadArgument(f"a model's name is a str, not {type(name).__name__}")
        self._table.unload(name)
