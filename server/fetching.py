"""What a model needs from the hub: before anybody calls it, and first thing when it is loaded."""

from __future__ import annotations

import dataclasses
import logging
import threading

from .kinds import adapter
from .models import hub
from .models.hub_failures import offline
from .progress import Hear, heard_by, hearer
from .settings import ModelSettings

logger = logging.getLogger("sharedmodel.host")


class Fetching:
    """Of one model. ``hear`` is told how far a download is that nobody waits for."""

    def __init__(self, name: str, hear: Hear) -> None:
        self._name = name
        self._hear = hear
        self._found: tuple[ModelSettings, str] | None = None

    def ahead(self, settings: ModelSettings) -> None:
        """Have its files fetched in the background, where that is allowed."""
        if settings.kind is not None and not offline():
            threading.Thread(target=self._try, args=(settings,), name=f"fetch-{self._name}", daemon=True).start()

    def _try(self, settings: ModelSettings) -> None:
        try:
            with heard_by(self._hear):
                fetch(settings)
        except Exception as exc:  # whatever it is: its first call meets it as well, and is told
            logger.warning("model %s could not be fetched ahead: %s", self._name, exc)

    def now(self, settings: ModelSettings) -> None:
        """Have its files fetched, where that is allowed. Raises as `fetch`."""
        folder = None if offline() else fetch(settings)
        self._found = None if folder is None else (settings, folder)

    def located(self, settings: ModelSettings) -> ModelSettings:
        """The settings with the folder that has just been fetched for them: the hub is not asked again."""
        if self._found is None or self._found[0] is not settings or settings.options.get("name") is None:
            return settings  # or fastembed's, which does more with its folders than to find them
        return dataclasses.replace(settings, options={**settings.options, "path": self._found[1]})


def fetch(settings: ModelSettings) -> str | None:
    """Have what the settings name on the hub downloaded; its folder. None where they name nothing there.

    Raises OSError where it can't be had; ValueError and the like for what the kind's library doesn't know.
    """
    repository = wanted(settings)
    return None if repository is None else hub.fetched(repository, hearer())


def wanted(settings: ModelSettings) -> hub.Repository | None:
    """What the settings of a model name on the hub. Raises as its kind does for what it doesn't know."""
    on_hub = None if settings.kind is None else getattr(adapter(settings.kind), "on_hub", None)
    found: hub.Repository | None = None if on_hub is None else on_hub(settings.options)
    return found
