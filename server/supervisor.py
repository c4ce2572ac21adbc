"""The process that stays: it holds the listening sockets, starts the host, and starts it again.

    host.sock ── listener ──────────────► host (accepts; while there is none, callers wait in the backlog)
    control.sock ◄── status, stop, restart      │
    pidfd ◄──────────────── its end ────────────┤
    lifeline ◄── states, idle; ask for status ──┘

One thread, one selector, no model library and no numpy: nothing a model does can bring it down. When it
dies itself, the kernel ends the host with it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import sys
import time
from typing import Any, Final

from sharedmodel import segment
from sharedmodel.errors import BadArgument, SharedModelError

from . import logs, messages, reload
from .child import Child
from .control import Answer, ControlServer
from .death import Restarts
from .detach import detach
from .door import Door
from .place import Lock, Place, listen
from .retire import Retirement
from .settings import ModelSettings, Settings
from .signals import Signals, terminal_is_gone
from .standing import Standing

KILL_AFTER: Final = 2.0  # past the grace time
NEVER: Final = float("inf")

logger = logging.getLogger("sharedmodel.supervisor")


class Supervisor:
    """Serves one runtime directory until it is told to stop."""

    def __init__(self, place: Place, settings: Settings) -> None:
        """Raises Held or OSError when the directory is in use."""
        self.place = place
        self.settings = settings
        self.started = time.time()
        self.restarts = Restarts()
        self.child: Child | None = None
        self.stopping = False
        self.spawn_at = NEVER
        self._kill_at = NEVER
        # An embedded one that is just ending may still hold it: its successor waits.
        self._lock = Lock(place, wait=settings.grace + 2 * KILL_AFTER if settings.embedded else 0.0)
        collect_leftovers()
        self.listener = listen(place.host, settings.group)
        self._selector = selectors.DefaultSelector()
        self._signals = Signals(self._selector, self._signal)
        self._control = ControlServer(listen(place.control), self._selector, self._request)
        self._door = Door(self.listener, self._selector)
        self._standing = Standing(self)
        self._retirement = Retirement(self)

    # -- the loop --------------------------------------------------------------------------------------

    def run(self) -> int:
        """Serve; the exit code."""
        try:
            self._spawn()
            while not (self.stopping and self.child is None):
                for key, _ in self._selector.select(self._timeout()):
                    key.data()
                self._due(time.monotonic())
        finally:
            self._close()
        logger.info("stopped")
        return 0

    def _timeout(self) -> float | None:
        next_at = min(self.spawn_at, self._kill_at, self._standing.due, self._retirement.due)
        return None if next_at == NEVER else max(0.0, next_at - time.monotonic())

    def _due(self, now: float) -> None:
        if now >= self._kill_at and self.child is not None:
            self._kill_at = NEVER
            logger.warning("the host did not end in time and is killed")
            self.child.kill()
        if now >= self.spawn_at and not self.stopping:
            self._spawn()
        self._standing.expire(now)
        self._retirement.expire(now)

    def _close(self) -> None:
        self._unlink(self.place.host)
        if self.child is not None:
            self.child.kill()
            self.child.reap(self._selector)
        self._door.open()
        self._unlink(self.place.control)
        self._control.close()
        self._signals.close()
        self._selector.close()
        self.listener.close()
        collect_leftovers()
        self._lock.close()

    def _unlink(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    # -- the host --------------------------------------------------------------------------------------

    def _spawn(self) -> None:
        self.spawn_at = NEVER
        self._door.open()
        child = self.child = Child(self.place, self.listener, self.settings)
        child.watch(self._selector, self._died, self._report)
        logger.info("host %d started", child.pid)

    def _died(self) -> None:
        assert self.child is not None
        death = self.child.reap(self._selector)
        self.child = None
        self._kill_at = NEVER
        self._standing.lost()
        if self.stopping:
            return
        delay = self.restarts.died(death)
        self.spawn_at = time.monotonic() + delay
        when = f"in {delay:.1f} s" if delay else "now"
        log = logger.info if death.wanted else logger.error
        log("host %d %s, after %.1f s; started again %s", death.pid, death.reason, death.lived, when)
        if self.restarts.failing and not death.wanted:
            self._door.shut(
                f"the host could not be started, {self.restarts.unready} times in a row; the last one "
                f"{death.reason}. It is tried again by itself; see the log of `sharedmodel serve`"
            )

    def _report(self, kind: int, values: list[Any]) -> None:
        if kind == messages.SETTLED:
            self.restarts.ready()
        elif kind == messages.STATUS:
            self._standing.arrived(*values)
        elif kind == messages.IDLE:
            self._retirement.begin()
        elif kind == messages.BUSY:
            self._retirement.decide(values[0])
        elif kind == messages.LOADED:
            self.settings.models[values[0]] = ModelSettings(**values[1])

    def stop(self, why: str, hurry: bool = False) -> None:
        """End the host, then this process. ``hurry`` gives running calls no time."""
        if not self.stopping:
            logger.info("stopping: %s", why)
        self.stopping = True
        # Now, not at the end: who comes while the last calls run is told at once that there is no host.
        self._unlink(self.place.host)
        self._end_host(why, hurry)

    def restart(self, why: str) -> None:
        """End the host; the next one is started when it is gone."""
        if self.child is None:
            self.spawn_at = 0.0
        self._end_host(why)

    def _end_host(self, why: str, hurry: bool = False) -> None:
        if self.child is None:
            return
        if hurry:
            self.child.kill()
            return
        self.child.terminate(why)
        self._kill_at = min(self._kill_at, time.monotonic() + self.settings.grace + KILL_AFTER)

    # -- what it is told -------------------------------------------------------------------------------

    def _signal(self, number: int) -> None:
        if number == signal.SIGHUP and not terminal_is_gone():
            self._reload()
        else:
            self.stop(signal.Signals(number).name, hurry=self.stopping)

    def _reload(self) -> None:
        try:
            self.settings = reload.again(self.settings)
        except SharedModelError as exc:
            logger.error("the configuration was not taken, the host goes on with the old one: %s", exc)
            return
        self.restart("restarted to read its configuration again")

    def _request(self, name: str, options: dict[str, Any], answer: Answer) -> None:
        if name == "status":
            self._standing.ask(answer)
        elif name == "stop":
            answer({"pid": os.getpid()})
            self.stop("asked to by `sharedmodel stop`", hurry=options.get("hurry") is True)
        elif name == "restart":
            answer({"pid": os.getpid()})
            self.restart("restarted on request")
        else:
            raise BadArgument(f"no request {name!r}; there are: status, stop, restart")


def collect_leftovers() -> None:
    """Remove the names in /dev/shm that a kill left behind."""
    for leftover in segment.leftovers():
        segment.remove(leftover)


def main() -> int:
    """``python -m sharedmodel.server.supervisor DIRECTORY FD``: the settings are read from the descriptor."""
    directory, fd = sys.argv[1], int(sys.argv[2])
    with open(fd, encoding="utf-8") as file:
        settings = Settings.from_json(file.read())
    place = Place(directory)
    if settings.embedded:
        detach()
    logs.set_up("supervisor", settings.log_level)
    try:
        supervisor = Supervisor(place, settings)
    except (SharedModelError, OSError) as exc:
        print(f"sharedmodel: {exc}", file=sys.stderr)
        return 2
    logger.info("serving %s in %s", settings.config_file or "models as its clients ask for them", place.directory)
    return supervisor.run()


if __name__ == "__main__":
    sys.exit(main())
