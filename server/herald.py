"""Says to the service manager how the server stands, when that has changed (see `notify`)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from .hosts import Hosts
from .keeper import Keeper
from .notify import AGAIN, NEVER, Notifier, reloading
from .progress import told_of

_MORE_TIME: Final = f"EXTEND_TIMEOUT_USEC={10 * 60 * 1_000_000}"  # to start in: a download that goes on is no hang


class Herald:
    """Compares what is with what was said last."""

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        self._said = ""
        self._ready = False
        self._stopping = False
        self._reloading = False
        self._refused = ""
        self._hosts: Hosts | None = None
        self._again = NEVER  # when to look again, where the manager could not be told

    @property
    def due(self) -> float:
        """When `expire` has something to do."""
        return min(self._notifier.due, self._again)

    def expire(self, now: float) -> None:
        """Give a sign of life, and say again what did not go out, when it is time to."""
        self._notifier.expire(now)
        if now >= self._again and self._hosts is not None:
            self.look(self._hosts)

    def look(self, hosts: Hosts) -> None:
        """Something has happened to a host."""
        self._hosts, self._again = hosts, NEVER
        if self._stopping or self._reloading:
            return
        models = hosts.models()
        status, ready = in_words(models) + self._refused, not self._ready and all(map(_has_settled, hosts))
        downloading = any(map(told_of, models.values()))
        if ready or status != self._said:
            more = ["READY=1"] if ready else [] if self._ready or not downloading else [_MORE_TIME]
            if not self._notifier.tell(*more, f"STATUS={status}"):
                self._again = time.monotonic() + AGAIN
                return
        self._said = status
        self._ready = self._ready or ready

    def reloading(self) -> None:
        """The configuration is being read again; READY=1 follows when the hosts have settled."""
        self._ready, self._reloading = False, True
        self._said = "the configuration is read again"
        self._notifier.tell(*reloading(), f"STATUS={self._said}")

    def reloaded(self, hosts: Hosts, refused: str = "") -> None:
        """It has been; ``refused``: why it was not taken."""
        self._reloading = False
        self._refused = f"; the configuration was not taken: {refused}" if refused else ""
        self.look(hosts)

    def stopping(self, why: str) -> None:
        """The end begins."""
        if not self._stopping:
            self._stopping = True
            self._notifier.tell("STOPPING=1", f"STATUS=stopping: {why}")


def _has_settled(keeper: Keeper) -> bool:
    ends = keeper.child is not None and bool(keeper.child.wanted)  # for another to be started
    return keeper.state in ("ready", "failing") and not ends


def in_words(models: Mapping[str, Mapping[str, Any]]) -> str:
    """How the models stand, in one line."""
    by_state: dict[str, list[str]] = {}
    for name, told in models.items():
        by_state.setdefault(told["state"], []).append(name)
    ready = len(by_state.pop("ready", []))
    others = [f"{state}: {', '.join(sorted(names))}" for state, names in sorted(by_state.items())]
    progress = [text for _, told in sorted(models.items()) for text in told_of(told)]
    return "; ".join([f"{ready} of {len(models)} models ready", *others, *dict.fromkeys(progress)])
