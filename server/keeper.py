"""Keeps one host running: its listening socket, its process, the pause before the next one.

starting ─► running ─► (dies) ─► waiting ─► starting …
               └─ retire ─► gone
"""

from __future__ import annotations

import dataclasses
import logging
import os
import selectors
import time
from collections.abc import Callable
from typing import Any, Final

from sharedmodel.board import DOWN, Board

from . import messages
from .boot import Boot
from .child import Child
from .death import Death, Restarts
from .door import Door
from .journal import Journal
from .loads import Barred, loads
from .machine.neighbours import Neighbours
from .machine.oom import Recent
from .names import full_name
from .place import QUARANTINE, Place
from .settings import Settings

KILL_AFTER: Final = 2.0  # past the grace time
LINGER: Final = 1.0  # seconds in which those who still call a host that is dismissed are told to go elsewhere
AGAIN_AFTER: Final = 1.0  # seconds, where no process could be made
SILENCE: Final = 10.0  # seconds; a native call that keeps the interpreter's lock lets nothing else run
# Of a host that loads a model, for which there is no limit and which may be such a call.
LONGEST_SILENCE: Final = 600.0
NEVER: Final = float("inf")

logger = logging.getLogger("sharedmodel.supervisor")

Report = Callable[["Keeper", int, list[Any]], None]


class Keeper:
    """One host, again and again. ``report`` hears what it says, ``ended`` of each end."""

    def __init__(
        self,
        name: str,
        place: Place,
        settings: Settings,
        selector: selectors.BaseSelector,
        report: Report,
        ended: Callable[[Keeper, Death], None],
        recent: Recent,
    ) -> None:
        """Raises OSError or BadArgument where its socket can't be made."""
        self.name = name
        self.settings = settings
        self.address = place.socket_of(name)
        self.restarts = Restarts()
        self.child: Child | None = None
        self.retired = False
        self.on_demand = name == QUARANTINE  # its host runs only while somebody wants it
        self._dozes = False
        self.spawn_at = NEVER
        self._postponed = ""
        self.cell: int | None = None
        self.board: Board | None = None
        self.neighbours = Neighbours()
        self.elsewhere: dict[str, Any] = {}
        self.deaths: list[list[Any]] = []
        self.listener = place.listen(self.address, settings.group)
        self._journal_fd = Journal.create()
        self.journal = Journal(self._journal_fd)
        self._kill_at = self._beat_due = self._ends_at = NEVER
        self._beaten = 0.0
        self._recent = recent
        self._barred = Barred()
        self._dismissal = ""
        self._place = place
        self._selector = selector
        self._report = report
        self._ended = ended
        self._door = Door(self.listener, selector)

    def __str__(self) -> str:
        return f"host {self.name}" if self.name else "host"

    # -- its processes -------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the host, or wait for somebody who wants it."""
        if self.on_demand:
            self._doze()
        else:
            self.spawn()

    def spawn(self) -> None:
        if self.retired:
            return  # by an event of the same round
        self.spawn_at = NEVER
        self._rouse()
        self._door.open()
        self.journal.clear()
        try:
            child = self.child = Child(self._boot())
        except OSError as exc:
            self._postpone(f"could not be started: {exc.strerror}")
            return
        self._postponed = ""
        child.watch(self._selector, self._died, self._hear)
        logger.info("%s %d started", self, child.pid)

    def _hear(self, kind: int, values: list[Any]) -> None:
        if kind == messages.STATES:
            self._barred.forget(loads(values[0], "ready"))
        self._report(self, kind, values)

    def _postpone(self, why: str) -> None:
        self.spawn_at = time.monotonic() + AGAIN_AFTER
        if why != self._postponed:  # once
            logger.error("%s %s; tried again every second", self, why)
        self._postponed = why

    def _boot(self) -> Boot:
        several = sum(len(model.by_version) for model in self.settings.models.values()) > 1
        return Boot(
            self.listener.fileno(), -1, os.getpid(), self._place.directory, self.settings, self.name,
            self.elsewhere, self.cell, self._journal_fd, self.neighbours.fd, self.neighbours.number, self.deaths,
            self._barred.told(time.monotonic()) if several else {},
        )  # fmt: skip

    def _died(self) -> None:
        child = self.child
        assert child is not None
        death = child.reap(self._selector, self.journal, self._recent)
        self.child = None
        self._barred.forget(loads(child.states, "ready"))
        self._barred.died(death.loading, death.reason, time.monotonic(), called=bool(death.executing))
        self._kill_at = self._beat_due = NEVER
        if self.board is not None and self.cell is not None:
            self.board[self.cell] = DOWN
        self.neighbours.clear()
        if not self.retired:
            self._plan_next(death)
            if self.on_demand:
                self._doze()
        self._ended(self, death)

    def _plan_next(self, death: Death) -> None:
        delay = self.restarts.died(death)
        self.spawn_at = time.monotonic() + delay
        when = f"in {delay:.1f} s" if delay else "now"
        log = logger.info if death.wanted else logger.error
        log("%s %d %s, after %.1f s; started again %s", self, death.pid, death.reason, death.lived, when)
        if self.restarts.failing and not death.wanted and not self.on_demand:
            self._door.shut(
                f"the {self} could not be started, {self.restarts.unready} times in a row; the last one "
                f"{death.reason}. It is tried again by itself; see the log of `sharedmodel serve`"
            )

    def _doze(self) -> None:
        """No host until somebody connects: the listening socket keeps who comes."""
        self.spawn_at = NEVER
        if not self._dozes:
            self._dozes = True
            self._selector.register(self.listener, selectors.EVENT_READ, self.spawn)

    def _rouse(self) -> None:
        if self._dozes:
            self._dozes = False
            self._selector.unregister(self.listener)

    def tell(self, kind: int, *values: Any) -> bool:
        """Say something to the host; False where there is none that listens."""
        return self.child is not None and self.child.serving and self.child.tell(kind, *values)

    def _tell_models(self, models: dict[str, Any]) -> bool:
        return self.child is not None and self.child.serving and self.child.tell_models(models, self.elsewhere)

    # -- its end ---------------------------------------------------------------------------------------

    def restart(self, why: str, settings: Settings | None = None) -> None:
        """End the host; the next one, with new settings if they are given, is started when it is gone."""
        if self.retired:
            return
        if settings is not None:
            self.settings = settings
        if self.child is None and not self._dozes:
            self.spawn_at = 0.0
        self._end(why)

    def change(self, settings: Settings) -> None:
        """Come to new settings: in the host that runs where only its models differ, else in a new one."""
        old = self.settings.models
        changed = [(name, model) for name, model in settings.models.items() if model != old.get(name)]
        self._barred.forget(full_name(name, version) for name, model in changed for version in model.by_version)
        same = dataclasses.replace(settings, models={}, threads={})
        models = {name: dataclasses.asdict(model) for name, model in settings.models.items()}
        if dataclasses.replace(self.settings, models={}, threads={}) == same and self._tell_models(models):
            self.settings = settings
        else:
            self.restart("restarted to read its configuration again", settings)

    def dismiss(self, why: str) -> None:
        """End the host for good, in a while: what it served is served elsewhere, or not at all, as it says till then.

        A call that it had not read at its end would be lost, and nobody could tell whether it had run.
        """
        if not self._tell_models({}):
            self.retire(why)
            return
        self._close_up()
        self._dismissal = why
        self._ends_at = time.monotonic() + LINGER

    def retire(self, why: str, hurry: bool = False) -> None:
        """End the host for good. ``hurry`` gives running calls no time."""
        self._close_up()
        self._ends_at = NEVER
        self._end(why, hurry)

    def _close_up(self) -> None:
        self.retired = True
        self.spawn_at = NEVER
        # Now, not at the end: who comes while the last calls run is told at once that there is no host.
        self._rouse()
        self._place.unlink(self.address)

    def beat(self) -> None:
        """The host is alive, which it says every second where any of its models has a `max_run`."""
        self._beaten = time.monotonic()
        self._beat_due = self._beaten + SILENCE

    def _look_at_silence(self, child: Child, now: float) -> None:
        """It has not said for a while that it is alive. A call may keep it from that, and is allowed its `max_run`."""
        ends = self.journal.ends()
        if ends and min(ends) + 1.0 > now:  # a second, as the host gives it that one which can be told to stop
            self._beat_due = min(now + SILENCE, min(ends) + 1.0)
        elif not ends and loads(child.states) and now < self._beaten + LONGEST_SILENCE:
            self._beat_due = now + SILENCE
        else:
            self._beat_due = NEVER
            child.silent = True
            self.replace(f"it gave no sign of life for {now - self._beaten:.0f} s")

    def rest(self) -> None:
        """End a host that nobody wants at the moment."""
        if self.on_demand:
            self._end("nobody needs it at the moment")

    @property
    def gone(self) -> bool:
        """Whether it is retired and nothing of it runs any more."""
        return self.retired and self.child is None

    def replace(self, why: str) -> None:
        """A host that does not do its work any more ends at once; its callers go on with the next."""
        logger.error("%s is replaced: %s", self, why)
        if self.child is not None:
            self.child.fault = f"was replaced: {why}"
            self.child.kill()

    def _end(self, why: str, hurry: bool = False) -> None:
        if self.child is None:
            return
        if hurry:
            self.child.kill()
            return
        self.child.terminate(why)
        self._kill_at = min(self._kill_at, time.monotonic() + self.settings.grace + KILL_AFTER)

    def close(self) -> None:
        """Let go of everything, the host's process first."""
        if not self.retired:  # else it is unlinked, and may be another's by now
            self._place.unlink(self.address)
        self.retired = True
        if self.child is not None:
            self.child.kill()
            self.child.reap(self._selector, self.journal, self._recent)
            self.child = None
        self._rouse()
        self._door.open()
        self.listener.close()
        if self._journal_fd >= 0:
            os.close(self._journal_fd)
            self._journal_fd = -1
            self.journal.close()
            self.neighbours.close()

    # -- time ------------------------------------------------------------------------------------------

    @property
    def due(self) -> float:
        """When `expire` has something to do."""
        return min(self.spawn_at, self._kill_at, self._ends_at, self._beat_due)

    def expire(self, now: float) -> None:
        if now >= self._ends_at:
            self._ends_at = NEVER
            self._end(self._dismissal)
        if now >= self._kill_at and self.child is not None:
            self._kill_at = NEVER
            logger.warning("%s did not end in time and is killed", self)
            self.child.kill()
        if now >= self._beat_due and self.child is not None:
            self._look_at_silence(self.child, now)
        if now >= self.spawn_at and not self.retired:
            self.spawn()

    # -- what is known of it ---------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """One word for how it stands."""
        if self.retired:
            return "stopping"
        if self._dozes:
            return "ready"
        if self.restarts.failing and not self.on_demand:
            return "failing"
        if self.child is None:
            return "waiting"
        if not self.child.serving:
            return "starting"
        return "ready" if self.child.settled or self.on_demand else "loading"

    def models(self) -> dict[str, Any]:
        """Its models' states, as it told them last; absent, or failed, while there is no host to have them."""
        if self.child is not None and self.child.states:
            return self.child.states
        reason, state = self.restarts.last_reason, "failed" if self.state == "failing" else "absent"
        told = {"state": state, "seconds": 0.0, **({"reason": f"its host {reason}"} if reason else {})}
        return {name: {"kind": model.kind or model.factory, **told} for name, model in self.settings.models.items()}
