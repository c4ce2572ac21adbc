"""The host's models: each announced at once, loaded off every lock, published when it is ready."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

from sharedmodel.control import described
from sharedmodel.errors import BadArgument
from sharedmodel.objects import Objects, Served, Watch, public_methods

from .kinds import DETAILS, adapter, resolve
from .settings import ModelSettings
from .slot import FAILED, READY, Slot

logger = logging.getLogger("sharedmodel.host")


class Table:
    """The models by name. ``changed`` hears of every new state, on any thread."""

    def __init__(
        self,
        objects: Objects,
        changed: Callable[[], None] = lambda: None,
        folder: str | None = None,
        watch: Callable[[str, float | None], Watch] | None = None,
    ) -> None:
        """``folder``: where modules of factories are looked for first; ``watch`` makes who sees a model's calls."""
        self._objects = objects
        self._changed = changed
        self._folder = folder
        self._watch = watch
        self._lock = threading.Lock()
        self._slots: dict[str, Slot] = {}
        self._settings: dict[str, ModelSettings] = {}

    def add(self, name: str, settings: ModelSettings) -> None:
        """Announce a model. Raises BadArgument when the name stands for another one."""
        with self._lock:
            if name in self._settings:
                if self._settings[name] != settings:
                    raise BadArgument(f"model {name!r} is served already, with other options")
                return
            slot = Slot(name, lambda: self._publish(name, settings), self._changed)
            self._slots[name], self._settings[name] = slot, settings
        self._objects.announce(name, slot.wait)

    def settings(self) -> dict[str, ModelSettings]:
        """What each model is made of."""
        with self._lock:
            return dict(self._settings)

    def start(self, name: str) -> None:
        """Begin to load a model."""
        self._slot(name).start()

    def wait(self, name: str, others: Iterable[str] = ()) -> dict[str, Any]:
        """What clients should know of a model, once it is loaded. Raises LoadFailed.

        ``others``: models that are not here, for the error that names those there are.
        """
        served = self._slot(name, others).wait()
        return described(served)

    def unload(self, name: str) -> None:
        """Let a model go. Calls that run finish; the next call loads it again."""
        slot = self._slot(name)
        slot.unload()
        self._objects.retract(name, keep_announced=True)
        logger.info("model %s is unloaded", name)

    def states(self) -> dict[str, dict[str, Any]]:
        """Each model's state, kind, reason and time to load."""
        with self._lock:
            slots = dict(self._slots)
        return {name: {"kind": kind_of(self._settings[name]), **slot.describe()} for name, slot in slots.items()}

    @property
    def settled(self) -> bool:
        """Whether each model is ready, or failed."""
        return all(state["state"] in (READY, FAILED) for state in self.states().values())

    def close(self) -> None:
        """Let each model close itself, if it can. For the host's end, when nothing is called any more."""
        for served in self._objects.named():
            close = getattr(served.obj, "close", None)
            if served.ident in self._slots and callable(close):
                try:
                    close()
                except Exception:
                    logger.exception("model %s could not be closed", served.ident)

    def _slot(self, name: str, others: Iterable[str] = ()) -> Slot:
        try:
            return self._slots[name]
        except (KeyError, TypeError):
            known = ", ".join(sorted([*self._slots, *others])) or "none"
            raise BadArgument(f"no model {name!r} here; there are: {known}") from None

    def _publish(self, name: str, settings: ModelSettings) -> Served:
        served = self._published(name, settings)
        if self._watch is not None:
            served.watch = self._watch(name, settings.max_run)
        return served

    def _published(self, name: str, settings: ModelSettings) -> Served:
        if settings.kind is not None:
            return self._publish_kind(name, settings.kind, settings.options)
        assert settings.factory is not None
        if self._folder and self._folder not in sys.path:
            sys.path.insert(0, self._folder)
        obj = resolve(settings.factory)(*settings.args, **settings.kwargs)
        exposed = settings.exposed
        if exposed is None:
            exposed = [method for method in public_methods(obj) if method != "close"]
        _must_have(obj, [*exposed, *settings.idempotent], settings.factory)
        info = {"kind": settings.factory, "state": READY}
        if len(exposed) == 1:
            info["default"] = exposed[0]
        return self._objects.publish(name, obj, exposed=exposed, idempotent=settings.idempotent, info=info)

    def _publish_kind(self, name: str, kind: str, options: dict[str, Any]) -> Served:
        details = DETAILS[kind]
        info = {
            "kind": kind,
            "state": READY,
            "default": details.default,
            "files": {method: list(places) for method, places in details.files.items()},
        }
        obj = adapter(kind)(**options)
        return self._objects.publish(name, obj, exposed=details.exposed, idempotent=details.idempotent, info=info)


def kind_of(settings: ModelSettings) -> str:
    return settings.kind or settings.factory or ""


def _must_have(obj: Any, methods: list[str], factory: str) -> None:
    for method in methods:
        if not callable(getattr(obj, method, None)):
            has = ", ".join(public_methods(obj)) or "none"
            raise BadArgument(f"what {factory} returned has no method {method!r}; it has: {has}")
