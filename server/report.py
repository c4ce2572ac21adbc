"""The host's end of the lifeline: it tells its supervisor how it stands, and ends when that dies."""

from __future__ import annotations

import logging
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from sharedmodel.board import Load
from sharedmodel.control import Control
from sharedmodel.errors import ProtocolError
from sharedmodel.service import Service

from . import messages
from .lifecycle import FAILED, LOADING, WARMING
from .messages import Messages
from .metrics.meter import Meter, under_way
from .metrics.process import own_numbers
from .settings import ModelSettings
from .table import Table

_UNABLE: Final = (FAILED, LOADING, WARMING)  # where another instance may have what callers want
IDLE_LOOKS: Final = 10  # in each idle time; a second apart at most, 50 ms at least

# What to do with what the supervisor says, besides its questions: message kinds and who takes their values.
News = dict[int, Callable[..., None]]

logger = logging.getLogger("sharedmodel.host")


class Reporter:
    """Two threads at most: one answers the supervisor, one watches for idleness where that is asked for."""

    def __init__(self, lifeline: Messages) -> None:
        self._lifeline = lifeline
        self._lock = threading.Lock()
        self._settled = False
        self._told_models = 0
        self._changing = False
        self.load: Load | None = None
        self.meter: Meter | None = None
        self._stopped = threading.Event()

    def say(self, kind: int, *values: Any) -> None:
        with self._lock:
            self._lifeline.send(kind, *values)

    def changed(self, table: Table) -> None:
        """A model has a new state."""
        with self._lock:  # looked at and told in one: the last word shall not be an old one
            settled = table.settled  # before the states: they shall not be older than this
            states = table.states()
            self._lifeline.send(messages.STATES, states)
            news = not self._settled and settled and not self._changing
            self._settled |= news
            if self._settled and self.load is not None:
                able = any(told["state"] not in _UNABLE for told in states.values())
                self.load.up() if able else self.load.stand_back()
            if news:
                self._lifeline.send(messages.SETTLED, self._told_models)

    def models(self, table: Table, models: dict[str, dict[str, Any]], number: int) -> None:
        """The host is to serve these from now on; it says anew when it has settled, with their number."""
        with self._lock:
            self._told_models = number
            self._settled, self._changing = False, True  # before those to come are there, those that go have settled
        try:
            table.apply({name: ModelSettings(**model) for name, model in models.items()})
        finally:
            self._changing = False
            self.changed(table)

    def start(self, service: Service, table: Table, news: News, idle_exit: float | None) -> None:
        self.say(messages.SERVING)
        self.changed(table)
        threading.Thread(target=self._answer, args=(service, table, news), name="lifeline", daemon=True).start()
        if idle_exit:
            threading.Thread(target=self._watch, args=(service, idle_exit), name="idle", daemon=True).start()

    def stop(self) -> None:
        """The host ends: idleness is no news any more."""
        self._stopped.set()

    def _answer(self, service: Service, table: Table, news: News) -> None:
        questions: dict[int, Callable[..., None]] = {
            messages.ASK_STATUS: lambda number: self.say(messages.STATUS, number, self._standing(service, table)),
            messages.ASK_BUSY: lambda: self.say(messages.BUSY, _may_be_busy(service)),
            **news,
        }
        while (received := self._received()) is not None:
            for kind, *values in received:
                try:
                    questions[kind](*values)
                except Exception:
                    logger.exception("a question of the supervisor could not be answered")
        if not self._stopped.is_set():
            # The supervisor is dead, and its successor serves in this one's place.
            os.kill(os.getpid(), signal.SIGKILL)

    def _standing(self, service: Service, table: Table) -> dict[str, Any]:
        told = {
            "model_memory": table.taken(),
            "model_devices": table.placed(),
            "devices": table.arbiter.gpus.told(),
            **({} if self.meter is None else self.meter.told()),
        }
        return {**standing(service), **told}

    def _received(self) -> list[list[Any]] | None:
        try:
            return self._lifeline.receive()
        except ProtocolError:
            return None

    def _watch(self, service: Service, idle_exit: float) -> None:
        pause = min(1.0, max(0.05, idle_exit / IDLE_LOOKS))
        since = time.monotonic()
        while not self._stopped.wait(pause):
            now = time.monotonic()
            if is_busy(service):
                since = now
            elif now - since >= idle_exit:
                since = now  # should the supervisor find somebody after all
                self.say(messages.IDLE)


def is_busy(service: Service) -> bool:
    """Whether anybody is connected, or about to be, or has something kept: a handle under way (see `stored`)."""
    waiting, _, _ = select.select([service.listener], [], [], 0)
    return bool(service.peers) or bool(waiting) or bool(service.objects.counted())


def _may_be_busy(service: Service) -> bool:
    """The same for the supervisor, which is owed an answer."""
    try:
        return is_busy(service)
    except Exception:
        logger.exception("whether anybody is connected could not be seen")
        return True


def standing(service: Service) -> dict[str, Any]:
    """The host in numbers, as plain data."""
    calls = [call for peer in list(service.peers.values()) for call in list(peer.calls.values())]
    return {
        "sessions": Control(service).sessions(),
        **own_numbers(),
        "under_way": under_way(calls, service.objects),
    }
