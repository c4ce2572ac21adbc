"""How things stand: the supervisor's own knowledge, and each host's if it answers in time."""

from __future__ import annotations

import itertools
import os
import time
from typing import TYPE_CHECKING, Any, Final

from sharedmodel import segment
from sharedmodel.process import resident

from . import messages
from .control import Answer
from .keeper import Keeper
from .machine.purse import Purse
from .metrics.devices import of_hosts
from .metrics.summary import with_numbers

if TYPE_CHECKING:
    from .supervisor import Supervisor

HOST_TIMEOUT: Final = 2.0
# The worst of the hosts' states is the server's.
_WORST: Final = ("stopping", "failing", "waiting", "starting", "loading", "ready")


class _Inquiry:
    """One request for the status: whose word is here, and who is still asked."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.end = time.monotonic() + HOST_TIMEOUT
        self.asked: set[str] = set()
        self.told: dict[str, dict[str, Any]] = {}


class Standing:
    """Answers requests for the status; each waits for the hosts, but not long."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._numbers = itertools.count(1)
        self._waiting: dict[int, _Inquiry] = {}

    @property
    def due(self) -> float:
        """When `expire` has something to do."""
        return min((inquiry.end for inquiry in self._waiting.values()), default=float("inf"))

    def ask(self, answer: Answer) -> None:
        number = next(self._numbers)
        inquiry = self._waiting[number] = _Inquiry(answer)
        for keeper in self._supervisor.hosts:
            if keeper.tell(messages.ASK_STATUS, number):
                inquiry.asked.add(keeper.name)
        self._done(number)

    def arrived(self, keeper: Keeper, number: int, told: dict[str, Any]) -> None:
        """A host's own word."""
        inquiry = self._waiting.get(number)
        if inquiry is not None and keeper.name in inquiry.asked:
            inquiry.asked.discard(keeper.name)
            inquiry.told[keeper.name] = told
            self._done(number)

    def lost(self, keeper: Keeper) -> None:
        """A host is gone: nobody waits for its word any more."""
        for number, inquiry in list(self._waiting.items()):
            inquiry.asked.discard(keeper.name)
            self._done(number)

    def expire(self, now: float) -> None:
        """Answer without their word those who have waited long enough for it."""
        for number, inquiry in list(self._waiting.items()):
            if now >= inquiry.end:
                self._answer(number)

    def _done(self, number: int) -> None:
        if not self._waiting[number].asked:
            self._answer(number)

    def _answer(self, number: int) -> None:
        inquiry = self._waiting.pop(number)
        inquiry.answer(self._snapshot(inquiry))

    def _snapshot(self, inquiry: _Inquiry) -> dict[str, Any]:
        supervisor = self._supervisor
        settings = supervisor.settings
        running = [keeper for keeper in supervisor.hosts if keeper.child is not None or not keeper.on_demand]
        hosts = [self._host(keeper, inquiry) for keeper in running]
        deaths = [
            {"host": keeper.name, **death.as_dict()} for keeper in supervisor.hosts for death in keeper.restarts.deaths
        ]
        sessions = [
            {"host": name, **session} for name, told in inquiry.told.items() for session in told.get("sessions", ())
        ]
        return {
            "state": self._state(hosts),
            "at": time.monotonic(),
            "directory": supervisor.place.directory,
            "config": settings.config_file,
            "config_refused": supervisor.configuration.refused,
            "embedded": settings.embedded,
            "idle_exit": settings.idle_exit,
            "supervisor": {"pid": os.getpid(), "since": supervisor.started, "memory": resident()},
            "hosts": hosts,
            "memory": Purse(settings.memory, os.getpid()).told(),
            "devices": of_hosts(hosts),
            "restarts": sum(host["restarts"] for host in hosts),
            "deaths": sorted(deaths, key=lambda death: death["at"]),
            "models": with_numbers(supervisor.hosts.models(), hosts),
            "threads": supervisor.hosts.threads(),
            "sessions": sessions,
            "shared_memory": _shared_memory(),
            "metrics": supervisor.gateway.told(),
        }

    def _host(self, keeper: Keeper, inquiry: _Inquiry) -> dict[str, Any]:
        child = keeper.child
        waits = keeper.spawn_at - time.monotonic()
        told = {key: value for key, value in inquiry.told.get(keeper.name, {}).items() if key != "sessions"}
        return {
            "name": keeper.name,
            "state": "unresponsive" if keeper.name in inquiry.asked else keeper.state,
            "pid": child.pid if child is not None else None,
            "since": child.since if child is not None else None,
            "address": keeper.address,
            "models": sorted(keeper.settings.models),
            "restarts": keeper.restarts.count,
            "causes": dict(keeper.restarts.causes),
            "next_start": max(0.0, waits) if child is None and waits != float("inf") else None,
            **told,
        }

    def _state(self, hosts: list[dict[str, Any]]) -> str:
        states = {host["state"] for host in hosts}
        if self._supervisor.stopping:
            return "stopping"
        if "unresponsive" in states:
            return "unresponsive"
        return next(state for state in _WORST if state in states)


def _shared_memory() -> dict[str, int] | None:
    """Bytes of /dev/shm, whoever uses them; None on a machine without."""
    try:
        found = os.statvfs(segment.DIRECTORY)
    except OSError:
        return None
    return {"size": found.f_blocks * found.f_frsize, "used": (found.f_blocks - found.f_bfree) * found.f_frsize}
