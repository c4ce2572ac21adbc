"""The keys of a table [models.NAME] that say how its calls wait and run (see `scheduling.settings`)."""

from __future__ import annotations

from typing import Any, Final

from .kinds import DETAILS
from .machine.cores import cores
from .mistakes import Mistake
from .scheduling.settings import MANY, Scheduling, problems

KEYS: Final = ("max_batch", "max_wait", "token_budget", "buckets", "queue", "lanes", "priorities")


def check_scheduling(where: str, table: dict[str, Any], mistakes: list[Mistake]) -> tuple[Scheduling, dict[str, Any]]:
    """The keys above, checked, and the rest of the table. What it does not say is as its kind has it.

    Runs of an adapter are work for processors, and each takes more than one: half as many at once are enough, and more
    only take the caches and the memory from one another. Eight callers of a CNN on two processors had 99 % of their
    answers within 52 ms with one run at once, within 61 ms with three, within 80 ms with eight, and as many a second.
    """
    said = {key: value for key, value in table.items() if key in KEYS}
    given = _schedule(table.get("kind"), said) | said
    rest = {key: value for key, value in table.items() if key not in KEYS}
    found = problems(given)
    mistakes += [Mistake(f"{where}.{key}", text) for key, text in found.items()]
    if "lanes" in said and table.get("instances", 1) != 1:
        mistakes.append(Mistake(f"{where}.lanes", "say how many run at once either by `lanes` or by `instances`"))
    if found:
        return Scheduling(), rest
    lanes = 1 if given.get("max_batch", 1) > 1 else MANY if table.get("kind") is None else max(1, cores().usable // 2)
    return Scheduling(**{"lanes": lanes} | given), rest


def _schedule(kind: Any, said: dict[str, Any]) -> dict[str, Any]:
    """A kind's own schedule: none of it for a model that is not to batch."""
    own = DETAILS[kind].schedule if isinstance(kind, str) and kind in DETAILS else {}
    return {} if said.get("max_batch") == 1 else dict(own)
