"""Loads that end their host: what is being loaded in one, and what it does without for a while. No processes here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from .names import full_name
from .progress import Progress

REFUSED_AFTER: Final = 2  # hosts in a row; four times as many, where calls were executing that may have been the cause
FIRST_PAUSE: Final = 30.0  # seconds until it is tried again; doubled after each host that it ends, up to
LAST_PAUSE: Final = 600.0
STAGES: Final = ("loading", "warming")
IN_TURN: Final = Progress("waiting for its turn, since one of several loads has ended the host before")


def loads(states: Mapping[str, Any], *stages: str) -> list[str]:
    """The models, and versions of models, that are in these stages of a load, or in any; beside an older one too.

    None that waits for its turn to begin; of any stage those as well that were abandoned and are not over.
    """
    found = []
    for model, told in states.items():
        for version, each in (told.get("versions") or {None: told}).items():
            waits = each.get("progress", {}).get("what") == IN_TURN.what
            adrift = not stages and each.get("abandoned")
            if adrift or (not waits and each.get("replacement", each["state"]) in (stages or STAGES)):
                found.append(full_name(model, version))
    return found


class _Suspect(NamedTuple):
    """Hosts that it may have ended in a row, what they weigh as evidence, until when it is refused, and why."""

    times: int = 0
    weight: float = 0.0
    until: float = 0.0
    why: str = ""


class Barred:
    """What a host is to load by itself, so that it is seen whether that ends it, and what it is not to load at all."""

    def __init__(self) -> None:
        self._suspects: dict[str, _Suspect] = {}

    def died(self, loading: Iterable[str], reason: str, now: float, *, called: bool = False) -> None:
        """A host died of something that these loads may have been; ``called``: or calls that were executing."""
        for name in loading:
            before = self._suspects.get(name, _Suspect())
            times, weight = before.times + 1, before.weight + (0.25 if called else 1.0)
            pause, why = 0.0, ""
            if weight >= REFUSED_AFTER:
                pause = min(LAST_PAUSE, FIRST_PAUSE * 2.0 ** min(weight - REFUSED_AFTER, 30.0))
                why = (
                    f"loading it ended its host {times} times in a row, the last one {reason}. "
                    f"It is tried again {pause:g} s after that, and by `sharedmodel load {name}`; "
                    "with `isolate = true` it would end no host but its own"
                )
            self._suspects[name] = _Suspect(times, weight, now + pause, why)

    def forget(self, names: Iterable[str]) -> None:
        """These have been loaded, or are made of something else from now on."""
        for name in names:
            self._suspects.pop(name, None)

    def told(self, now: float) -> dict[str, list[Any]]:
        """What is to be loaded alone, for how many seconds not at all, and why: for the next host."""
        found = {name: suspect for name, suspect in self._suspects.items() if suspect.weight >= 1.0}
        return {name: [max(0.0, suspect.until - now), suspect.why] for name, suspect in found.items()}
