"""The configuration as it was taken last, and read again on request: what came of it, and who is told.

SIGHUP, `sharedmodel reload` ──► Reading ──┬─ taken ────► the hosts come to it; what changed is told
                                           └─ refused ──► all goes on as it was; the status says why
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final

from sharedmodel.errors import BadArgument, SharedModelError

from . import logs
from .changes import as_read, changes, settled, takes_restart, with_chosen_defaults
from .control import Answer
from .reload import Found, Reading
from .settings import Settings

if TYPE_CHECKING:
    from .supervisor import Supervisor

_MOST: Final = 16_000  # characters of what is told of mistakes

logger = logging.getLogger("sharedmodel.supervisor")


class Configuration:
    """Of one supervisor, which carries out what was read. ``refused``: when and why the last one was not taken."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._last = as_read(supervisor.settings)
        self._reading = Reading(supervisor.selector, self._read)
        self._askers: list[Answer] = []
        self.refused: dict[str, Any] | None = None

    @property
    def due(self) -> float:
        """When `expire` has something to do."""
        return self._reading.due

    def expire(self, now: float) -> None:
        self._reading.expire(now)

    def close(self) -> None:
        self._reading.close()

    def read(self, answer: Answer | None = None) -> None:
        """Read it again. ``answer`` is told what came of it: what has changed, or why it was refused."""
        if answer is not None:
            self._askers.append(answer)
        self._supervisor.herald.reloading()
        self._reading.begin(self._supervisor.settings)

    def _read(self, found: Found) -> None:
        if self._supervisor.stopping:
            self._answer({"refused": "the server is stopping"})
            return
        try:
            if isinstance(found, BadArgument):
                raise found
            told = self._take(found)
        except (SharedModelError, OSError) as exc:
            why = str(exc)[:_MOST]
            logger.error("the configuration was not taken, the hosts go on with the old one: %s", why)
            self.refused = told = {"refused": why, "at": time.time()}
        self._supervisor.herald.reloaded(self._supervisor.hosts, "" if self.refused is None else why_of(self.refused))
        self._answer(told)

    def _take(self, found: Settings) -> dict[str, Any]:
        """Come to it; what that changes. Raises SharedModelError or OSError: then all is as it was."""
        supervisor, threads = self._supervisor, self._supervisor.hosts.threads()
        fixed = takes_restart(supervisor.settings, found)
        new = settled(supervisor.settings, found)
        supervisor.apply(with_chosen_defaults(self._last, supervisor.settings, new))
        changed = changes(self._last, new, threads, supervisor.hosts.threads())
        if (new.log_level, new.log_format) != (self._last.log_level, self._last.log_format):
            logs.set_up("supervisor", new.log_level, new.log_format)
        self._last, self.refused = as_read(new), None
        logger.info("the configuration was read again: %s", "; ".join(changed) or "nothing has changed")
        for line in fixed:
            logger.warning("%s", line)
        return {"changed": changed, "takes_restart": fixed}

    def _answer(self, told: dict[str, Any]) -> None:
        askers, self._askers = self._askers, []
        for answer in askers:
            answer(told)


def why_of(refused: dict[str, Any]) -> str:
    """Why a configuration was refused, in one line: its first mistake, and how many more there are."""
    first, *more = str(refused["refused"]).splitlines() or [""]
    return f"{first} (and {len(more)} more)" if more else first
