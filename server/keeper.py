"""Keeps one host running: its listening socket, its process, the pause before the next one.

starting ─► running ─► (dies) ─► waiting ─► starting …
               └─ retire ─► gone
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import time
from collections.abc import Callable
from typing import Any, Final

from sharedmodel.board import DOWN, Board

from .child import Child
from .death import Death, Restarts
from .door import Door
from .place import Place, listen
from .settings import Settings

KILL_AFTER: Final = 2.0  # past the grace time
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
    ) -> None:
        """Raises OSError or BadArgument where its socket can't be made."""
        self.name = name
        self.settings = settings
        self.address = place.socket_of(name)
        self.restarts = Restarts()
        self.child: Child | None = None
        self.retired = False
        self.spawn_at = NEVER
        self.cell: int | None = None
        self.board: Board | None = None
        self.elsewhere: dict[str, Any] = {}
        self._kill_at = NEVER
        self._place = place
        self._selector = selector
        self._report = report
        self._ended = ended
        self.listener = listen(self.address, settings.group)
        self._door = Door(self.listener, selector)

    def __str__(self) -> str:
        return f"host {self.name}" if self.name else "host"

    # -- its processes -------------------------------------------------------------------------------

    def spawn(self) -> None:
        self.spawn_at = NEVER
        self._door.open()
        child = self.child = Child(self.name, self._place, self.listener, self.settings, self.elsewhere, self.cell)
        child.watch(self._selector, self._died, lambda kind, values: self._report(self, kind, values))
        logger.info("%s %d started", self, child.pid)

    def _died(self) -> None:
        assert self.child is not None
        death = self.child.reap(self._selector)
        self.child = None
        self._kill_at = NEVER
        if self.board is not None and self.cell is not None:
            self.board[self.cell] = DOWN
        if not self.retired:
            self._plan_next(death)
        self._ended(self, death)

    def _plan_next(self, death: Death) -> None:
        delay = self.restarts.died(death)
        self.spawn_at = time.monotonic() + delay
        when = f"in {delay:.1f} s" if delay else "now"
        log = logger.info if death.wanted else logger.error
        log("%s %d %s, after %.1f s; started again %s", self, death.pid, death.reason, death.lived, when)
        if self.restarts.failing and not death.wanted:
            self._door.shut(
                f"the {self} could not be started, {self.restarts.unready} times in a row; the last one "
                f"{death.reason}. It is tried again by itself; see the log of `sharedmodel serve`"
            )

    def tell(self, kind: int, *values: Any) -> bool:
        """Say something to the host; False where there is none that listens."""
        return self.child is not None and self.child.serving and self.child.lifeline.send(kind, *values)

    # -- its end ---------------------------------------------------------------------------------------

    def restart(self, why: str, settings: Settings | None = None) -> None:
        """End the host; the next one, with new settings if they are given, is started when it is gone."""
        if settings is not None:
            self.settings = settings
        if self.child is None:
            self.spawn_at = 0.0
        self._end(why)

    def retire(self, why: str, hurry: bool = False) -> None:
        """End the host for good. ``hurry`` gives running calls no time."""
        self.retired = True
        self.spawn_at = NEVER
        # Now, not at the end: who comes while the last calls run is told at once that there is no host.
        self._unlink()
        self._end(why, hurry)

    @property
    def gone(self) -> bool:
        """Whether it is retired and nothing of it runs any more."""
        return self.retired and self.child is None

    def replace(self, why: str) -> None:
        """A host that does not do its work any more ends at once; its callers go on with the next."""
        logger.error("%s is replaced: %s", self, why)
        if self.child is not None:
            self.child.fault = why
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
        self.retired = True
        self._unlink()
        if self.child is not None:
            self.child.kill()
            self.child.reap(self._selector)
            self.child = None
        self._door.open()
        self.listener.close()

    def _unlink(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.address)

    # -- time ------------------------------------------------------------------------------------------

    @property
    def due(self) -> float:
        """When `expire` has something to do."""
        return min(self.spawn_at, self._kill_at)

    def expire(self, now: float) -> None:
        if now >= self._kill_at and self.child is not None:
            self._kill_at = NEVER
            logger.warning("%s did not end in time and is killed", self)
            self.child.kill()
        if now >= self.spawn_at and not self.retired:
            self.spawn()

    # -- what is known of it ---------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """One word for how it stands."""
        if self.retired:
            return "stopping"
        if self.restarts.failing:
            return "failing"
        if self.child is None:
            return "waiting"
        if not self.child.serving:
            return "starting"
        return "ready" if self.child.settled else "loading"

    def models(self) -> dict[str, Any]:
        """Its models' states, as it told them last; absent while there is no host to have them."""
        if self.child is not None and self.child.states:
            return self.child.states
        reason = self.restarts.last_reason
        told = {"state": "absent", "seconds": 0.0, **({"reason": f"its host {reason}"} if reason else {})}
        return {name: {"kind": model.kind or model.factory, **told} for name, model in self.settings.models.items()}
