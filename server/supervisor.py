"""The process that stays: it holds the listening sockets, starts the hosts, and starts them again.

    host.sock ── listener ──────────────► host (accepts; while there is none, callers wait in the backlog)
    control.sock ◄── status, stop, reload, …    │
    pidfd ◄──────────────── its end ────────────┤   the same for each model with a host of its own
    lifeline ◄── states, idle; ask for status ──┘

One thread, one selector, no model library and no numpy: nothing a model does can bring it down. When it
dies itself, the kernel ends the hosts with it.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import selectors
import signal
import sys
import time
from typing import Any, Final

from sharedmodel import segment
from sharedmodel.errors import BadArgument, SharedModelError

from . import activation, logs, messages
from .configuration import Configuration
from .control import Answer, ControlServer
from .death import Death
from .detach import detach
from .given import Given
from .herald import Herald
from .hosts import Hosts
from .keeper import KILL_AFTER, NEVER, Keeper
from .metrics.gateway import Gateway
from .notify import Notifier
from .place import Lock, Place
from .retire import Retirement
from .settings import ModelSettings, Settings
from .signals import Signals, terminal_is_gone
from .standing import Standing

_LONG: Final = 1.0  # seconds of a round, after which it is looked for what came meanwhile before anything is too late
_AFTER_FAULT: Final = 0.2
_LONGEST: Final = 3600.0  # seconds; a selector can't wait for a month

logger = logging.getLogger("sharedmodel.supervisor")


class Supervisor:
    """Serves one runtime directory until it is told to stop."""

    def __init__(self, place: Place, settings: Settings, notifier: Notifier) -> None:
        """Raises Held or OSError when the directory is in use."""
        self.place = place
        self.settings = settings
        self.started = time.time()
        self.stopping = False
        self._fault = ""
        # An embedded one that is just ending may still hold it: its successor waits.
        self._lock = Lock(place, wait=settings.grace + 2 * KILL_AFTER if settings.embedded else 0.0)
        collect_leftovers()
        self._given = Given(place.directory)
        self._given.sweep()
        self.selector = selectors.DefaultSelector()
        self.gateway = Gateway(place, self.selector, settings.group)
        self.hosts = Hosts(place, self.selector, self._report, self._ended)
        self.apply(settings)
        self._signals = Signals(self.selector, self._signal)
        self._control = ControlServer(place.listen(place.control), self.selector, self._request)
        self._standing = Standing(self)
        self._retirement = Retirement(self)
        self.herald = Herald(notifier)
        self.configuration = Configuration(self)

    def apply(self, settings: Settings) -> None:
        """Come to what the settings ask for. Raises BadArgument or OSError."""
        self.gateway.apply(settings.metrics)
        self.hosts.apply(dataclasses.replace(settings, metrics=None))
        self.settings = settings

    # -- the loop --------------------------------------------------------------------------------------

    def run(self) -> int:
        """Serve; the exit code."""
        try:
            self.hosts.start()
            self.herald.look(self.hosts)
            while not (self.stopping and self.hosts.gone):
                self._guarded_round()
        finally:
            self._close()
        logger.info("stopped")
        return 0

    def _guarded_round(self) -> None:
        """A fault of ours must neither end the hosts, nor spin, nor fill the log."""
        try:
            self._round()
            self._fault = ""
        except Exception as exc:
            if repr(exc) != self._fault:
                logger.exception("a fault in the supervisor; it goes on")
            self._fault = repr(exc)
            time.sleep(_AFTER_FAULT)

    def _round(self) -> None:
        # A process that was stopped meanwhile has its time up with news unread: they count first.
        events = self.selector.select(self._timeout()) or self.selector.select(0)
        began = time.monotonic()
        for key, _ in events:
            key.data()
        now = time.monotonic()
        if now - began < _LONG:
            self._due(now)

    def _timeout(self) -> float | None:
        parts = self.hosts, self.gateway, self._standing, self._retirement, self.herald, self.configuration
        next_at = min(part.due for part in parts)
        return None if next_at == NEVER else min(_LONGEST, max(0.0, next_at - time.monotonic()))

    def _due(self, now: float) -> None:
        self.hosts.expire(now)
        self.gateway.expire(now)
        self._standing.expire(now)
        self._retirement.expire(now)
        self.herald.expire(now)
        self.configuration.expire(now)

    def _close(self) -> None:
        self.configuration.close()
        self._retirement.expire(time.monotonic())
        self.hosts.close()
        self.gateway.close()
        self.place.unlink(self.place.control)
        self._control.close()
        self._signals.close()
        self.selector.close()
        collect_leftovers()
        self._given.sweep()
        self._lock.close()

    # -- the hosts -------------------------------------------------------------------------------------

    def _ended(self, keeper: Keeper, death: Death) -> None:
        collect_leftovers()
        self._standing.lost(keeper)
        self.herald.look(self.hosts)

    def _report(self, keeper: Keeper, kind: int, values: list[Any]) -> None:
        if kind == messages.SETTLED:
            keeper.restarts.ready()
            self.herald.look(self.hosts)
        elif kind in (messages.SERVING, messages.STATES):
            self.hosts.serves(keeper) if kind == messages.SERVING else self.hosts.spread(keeper)
            self.herald.look(self.hosts)
        elif kind == messages.STATUS:
            self._standing.arrived(keeper, *values)
        elif kind == messages.IDLE:
            keeper.rest() if keeper.on_demand else self._retirement.begin()
        elif kind == messages.BUSY:
            self._retirement.decide(keeper, values[0])
        elif kind == messages.LOADED:
            keeper.settings.models[values[0]] = self.settings.models[values[0]] = ModelSettings(**values[1])
        elif kind == messages.BEAT:
            keeper.beat()
        elif kind == messages.STUCK:
            keeper.replace(values[0])

    def stop(self, why: str, hurry: bool = False) -> None:
        """End the hosts, then this process. ``hurry`` gives running calls no time."""
        if not self.stopping:
            logger.info("stopping: %s", why)
        self.stopping = True
        self.herald.stopping(why)
        self.hosts.retire(why, hurry)

    # -- what it is told -------------------------------------------------------------------------------

    def _signal(self, number: int) -> None:
        if number == signal.SIGHUP and not terminal_is_gone():
            if not self.stopping:
                self.configuration.read()
        else:
            self.stop(signal.Signals(number).name, hurry=self.stopping)

    def _request(self, name: str, options: dict[str, Any], answer: Answer) -> None:
        if name == "status":
            self._standing.ask(answer)
        elif name == "live":
            answer({"pid": os.getpid(), "since": self.started})
        elif name == "stop":
            answer({"pid": os.getpid()})
            self.stop("asked to by `sharedmodel stop`", hurry=options.get("hurry") is True)
        elif name not in ("reload", "restart"):
            raise BadArgument(f"no request {name!r}; there are: status, live, stop, reload, restart")
        elif self.stopping:
            raise BadArgument("the server is stopping")
        elif name == "restart":
            answer({"pid": os.getpid()})
            self.hosts.restart("restarted on request")
        elif self.settings.config_file is None:
            raise BadArgument("this server has no configuration: it serves what its user's programs ask for")
        else:
            self.configuration.read(answer)


def collect_leftovers() -> None:
    """Remove the names in /dev/shm that a kill left behind."""
    try:
        for leftover in segment.leftovers():
            segment.remove(leftover)
    except OSError as exc:  # no descriptors left: the next time will do
        logger.warning("what killed processes may have left in /dev/shm could not be looked for: %s", exc.strerror)


def main() -> int:
    """``python -m sharedmodel.server.supervisor DIRECTORY FD``: the settings are read from the descriptor."""
    directory, fd = sys.argv[1], int(sys.argv[2])
    with open(fd, encoding="utf-8") as file:
        settings = Settings.from_json(file.read())
    place, notifier = Place(directory), Notifier.from_environment()
    if settings.embedded:
        detach()
    logs.set_up("supervisor", settings.log_level, settings.log_format)
    place.lent = activation.take()
    try:
        supervisor = Supervisor(place, settings, notifier)
    except (SharedModelError, OSError) as exc:
        print(f"sharedmodel: {exc}", file=sys.stderr)
        return 2
    logger.info("serving %s in %s", settings.config_file or "models as its clients ask for them", place.directory)
    return supervisor.run()


if __name__ == "__main__":
    sys.exit(main())
