"""What clients may ask of the models as a whole: the object published as "#models"."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any, Final

from sharedmodel import reply
from sharedmodel.errors import BadArgument, NotPermitted

from .elsewhere import Elsewhere
from .given import Given
from .settings import ModelSettings
from .suspects import Deaths
from .table import Table

NAME: Final = "#models"
EXPOSED: Final = ("states", "describe", "load", "obtain", "about", "unload", "verdict")
IDEMPOTENT: Final = EXPOSED


class Directory:
    """``loaded`` hears of each model that a client had loaded: a later host shall have it too.

    ``runtime_dir`` is where an embedded host keeps models that clients give as bytes.
    """

    def __init__(
        self,
        table: Table,
        elsewhere: Elsewhere,
        deaths: Deaths,
        *,
        embedded: bool,
        loaded: Callable[[str, dict[str, Any]], None] = lambda name, fields: None,
        runtime_dir: str = "",
        config: str | None = None,
    ) -> None:
        self._table = table
        self._elsewhere = elsewhere
        self._deaths = deaths
        self._embedded = embedded
        self._loaded = loaded
        self._given = Given(runtime_dir)
        self._config = config

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

    def obtain(
        self, name: str, kind: str, options: dict[str, Any], files: dict[str, Any], data: bytes | None = None
    ) -> dict[str, Any]:
        """The model that a stand-in means: ``{"name": ...}``, or ``{"needs": "data" or "digests"}`` to be sure.

        ``files`` tells size and SHA-256 of options that are files; one that is not among ``options`` is given
        as bytes, ``data``. An embedded host loads it under ``name``; a configured one looks for it among its
        own and raises NotPermitted with the lines to add.
        """
        if not self._embedded:
            return self._listed(name, kind, options, files)
        for option in [option for option in files if option not in options]:
            digest = files[option]["digest"]
            path = self._given.path(digest)
            if path is None and data is None:
                return {"needs": "data"}
            options = {**options, option: path or self._given.keep(digest, bytes(data or b""))}
        self.load(name, {"kind": kind, **options})
        return {"name": name}

    def about(self, kind: str) -> dict[str, Any]:
        """Version and abilities of the library behind a kind, where its adapter tells them."""
        from .kinds import DETAILS, adapter

        if kind not in DETAILS or not hasattr(adapter(kind), "about"):
            raise BadArgument(f"nothing is known about {kind!r}")
        told: dict[str, Any] = adapter(kind).about()
        return told

    def _listed(self, name: str, kind: str, options: dict[str, Any], files: dict[str, Any]) -> dict[str, Any]:
        from .kinds import DETAILS
        from .matching import Wanted, find, lines, needs_digests

        if kind not in DETAILS:
            raise BadArgument(f"unknown kind {kind!r}; allowed: {', '.join(DETAILS)}")
        models = {**self._table.settings(), **self._elsewhere.settings()}
        wanted = Wanted(kind, options, files)
        found = find(models, wanted)
        if found is not None:
            return {"name": found}
        if needs_digests(models, wanted):
            return {"needs": "digests"}
        raise NotPermitted(
            "this server loads the models of its configuration only, and this one is not among them; add these "
            f"lines to {self._config or 'it'} and send the server SIGHUP:\n\n{lines(name, wanted)}\n"
        )

    def unload(self, name: str) -> None:
        """Let a model go until its next call."""
        call: Any = reply.current.call
        if call is not None and call.peer.who.uid not in (os.geteuid(), 0):
            raise NotPermitted("only the user who runs the server may unload its models")
        if not isinstance(name, str):
            raise BadArgument(f"a model's name is a str, not {type(name).__name__}")
        self._table.unload(name)
