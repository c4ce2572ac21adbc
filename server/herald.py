"""Says to the service manager how the server stands, when that has changed (see `notify`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .hosts import Hosts
from .keeper import Keeper
from .notify import Notifier, reloading
from .progress import told_of

_MORE_TIME: Final = f"EXTEND_TIMEOUT_USEC={10 * 60 * 1_000_000}"  # to start in: a download that goes on is no hang


class Herald:
    """Compares what is with what was said last."""

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        self._said = ""
        self._ready = False
        self._stopping = False
        self.expire = notifier.expire

    @property
    def due(self) -> float:
        """When `expire` has something to do."""
        return self._notifier.due

    def look(self, hosts: Hosts) -> None:
        """Something has happened to a host."""
        if self._stopping:
            return
        models = hosts.models()
        status, ready = in_words(models), not self._ready and all(map(_has_settled, hosts))
        downloading = any(map(told_of, models.values()))
        if ready or status != self._said:
            more = ["READY=1"] if ready else [] if self._ready or not downloading else [_MORE_TIME]
            self._notifier.tell(*more, f"STATUS={status}")
        self._said = status
        self._ready = self._ready or ready

    def reloading(self) -> None:
        """The configuration is being read again; READY=1 follows when the hosts have settled."""
        self._ready = False
        self._said = "the configuration is read again"
        self._notifier.tell(*reloading(), f"STATUS={self._said}")

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
