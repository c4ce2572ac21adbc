"""How things stand: the supervisor's own knowledge, and the host's if it answers in time."""

from __future__ import annotations

import itertools
import os
import time
from typing import TYPE_CHECKING, Any, Final

from sharedmodel.process import resident

from . import messages
from .control import Answer

if TYPE_CHECKING:
    from .supervisor import Supervisor

HOST_TIMEOUT: Final = 2.0


class Standing:
    """Answers requests for the status; each waits for the host, but not long."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._numbers = itertools.count(1)
        self._waiting: dict[int, tuple[float, Answer]] = {}

    @property
    def due(self) -> float:
        """When `expire` has something to do."""
        return min((end for end, _ in self._waiting.values()), default=float("inf"))

    def ask(self, answer: Answer) -> None:
        child = self._supervisor.child
        number = next(self._numbers)
        if child is not None and child.serving and child.lifeline.send(messages.ASK_STATUS, number):
            self._waiting[number] = (time.monotonic() + HOST_TIMEOUT, answer)
        else:
            answer(self._snapshot())

    def arrived(self, number: int, host: dict[str, Any]) -> None:
        """The host's own word."""
        if number in self._waiting:
            _, answer = self._waiting.pop(number)
            snapshot = self._snapshot()
            snapshot["models"] = host.pop("models")
            snapshot["sessions"] = host.pop("sessions")
            snapshot["host"] = {**(snapshot["host"] or {}), **host}
            answer(snapshot)

    def expire(self, now: float) -> None:
        """Answer without the host those who have waited long enough."""
        for number, (end, answer) in list(self._waiting.items()):
            if now >= end:
                del self._waiting[number]
                answer(self._snapshot() | {"state": "unresponsive"})

    def lost(self) -> None:
        """The host is gone: nobody waits for its word any more."""
        waiting, self._waiting = self._waiting, {}
        for _, answer in waiting.values():
            answer(self._snapshot())

    def _state(self) -> str:
        supervisor = self._supervisor
        child = supervisor.child
        if supervisor.stopping:
            return "stopping"
        if supervisor.restarts.failing:
            return "failing"
        if child is None:
            return "waiting"
        if not child.serving:
            return "starting"
        return "ready" if child.settled else "loading"

    def _snapshot(self) -> dict[str, Any]:
        supervisor = self._supervisor
        child, settings = supervisor.child, supervisor.settings
        host = None
        if child is not None:
            host = {"pid": child.pid, "since": child.since}
        waits = supervisor.spawn_at - time.monotonic()
        return {
            "state": self._state(),
            "directory": supervisor.place.directory,
            "config": settings.config_file,
            "embedded": settings.embedded,
            "idle_exit": settings.idle_exit,
            "supervisor": {"pid": os.getpid(), "since": supervisor.started, "memory": resident()},
            "host": host,
            "next_start": max(0.0, waits) if child is None and waits != float("inf") else None,
            "restarts": supervisor.restarts.count,
            "deaths": [death.as_dict() for death in supervisor.restarts.deaths],
            "models": child.states if child is not None else {},
            "sessions": [],
        }
