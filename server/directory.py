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
from .slot import NotYet
from .suspects import Deaths
from .table import Table

NAME: Final = "#models"
EXPOSED: Final = ("states", "describe", "load", "obtain", "about", "unload", "reload", "warmup", "verdict")
IDEMPOTENT: Final = EXPOSED


class Directory:
    """``loaded`` hears of what clients have changed in the models: a later host shall have it too.

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

    def describe(self, name: str, patience: float | None = None) -> dict[str, Any]:
        """What to know of a model, once it is loaded: exposed methods, idempotent ones, files.

        Of a model with hosts of its own: ``{"elsewhere": where they are}``; they know the rest, and do the rest.
        Where it is not loaded after ``patience`` seconds: ``{"not_yet": how far it is, in words}``.
        """
        try:
            return self._found(name, lambda: self._table.wait(name, patience))
        except NotYet as exc:
            return {"not_yet": str(exc)}

    def load(self, name: str, spec: dict[str, Any] | None = None, default: bool = False) -> dict[str, Any] | None:
        """Load a model that is served, and wait until it is ready; its state. ``default``: its version becomes that.

        With a ``spec``, begin to serve a file of the user's: ``{"kind": "onnx", "path": "/..."}``. Asking again
        for the same is fine. Only in a host that was started for one user.
        """
        if spec is not None:
            self._serve(name, spec)
            return None
        return self._managed("load", name, lambda: self._load(name, default))

    def unload(self, name: str) -> dict[str, Any]:
        """Let a model go until its next call; its state, when its last call has ended."""
        return self._managed("unload", name, lambda: self._table.unload(name))

    def reload(self, name: str) -> dict[str, Any]:
        """Load a model anew, beside the one that serves, and swap; its state."""
        return self._managed("reload", name, lambda: self._table.reload(name))

    def warmup(self, name: str) -> dict[str, Any]:
        """Make a model's warm-up calls and its canary; its state."""
        return self._managed("warm up", name, lambda: self._table.warm_up(name))

    def verdict(self, pid: int, session: int, request: int) -> dict[str, Any] | None:
        """Whether a call that died with host ``pid`` may be sent again: None; else where, and why there."""
        return self._deaths.verdict(pid, session, request)

    def _managed(self, verb: str, name: str, here: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        call: Any = reply.current.call
        if call is not None and call.peer.who.uid not in (os.geteuid(), 0):
            raise NotPermitted(f"only the user who runs the server may {verb} its models")
        return self._found(name, here)

    def _found(self, name: str, here: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What ``here`` tells of a model that is here; else where it is. Raises BadArgument where it is nowhere."""
        try:
            return self._place(name) or here()
        except BadArgument:
            with self._elsewhere.changing:
                pass  # it may be on its way: here or there when this is over
        return self._place(name) or here()

    def _place(self, name: str) -> dict[str, Any] | None:
        where = self._elsewhere.where(name)
        return None if where is None else {"elsewhere": where}

    def _load(self, name: str, default: bool) -> dict[str, Any]:
        found = self._table.load(name, default=default)
        if default:
            self._tell(name)
        return found

    def _serve(self, name: str, spec: dict[str, Any]) -> None:
        if not self._embedded:
            raise NotPermitted(
                "this server loads the models of its configuration only; "
                f"add a table [models.{name}] to it and send the server SIGHUP"
            )
        from .config import checked_spec  # pydantic: only where it is used

        settings: ModelSettings = checked_spec(name, spec)
        self._table.add(name, settings)
        self._tell(name)
        self._table.start(name)

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
        self._serve(name, {"kind": kind, **options})
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
        from .matching import Wanted, differences, find, lines, needs_digests
        from .versions import one_by_one  # pydantic: only where it is used

        if kind not in DETAILS:
            raise BadArgument(f"unknown kind {kind!r}; allowed: {', '.join(DETAILS)}")
        models = one_by_one({**self._table.all_settings(), **self._elsewhere.settings()})
        wanted = Wanted(kind, options, files)
        found = find(models, wanted)
        if found is not None:
            return {"name": found}
        if needs_digests(models, wanted):
            return {"needs": "digests"}
        others = differences(models, wanted)
        raise NotPermitted(
            "this server loads the models of its configuration only, and this one is not among them. "
            + (f"Of this kind it has {others}. " if others else "")
            + f"Add these lines to {self._config or 'it'} and send the server SIGHUP:\n\n{lines(name, wanted)}\n"
        )

    def _tell(self, name: str) -> None:
        model, settings = self._table.settings(name)
        self._loaded(model, dataclasses.asdict(settings))
