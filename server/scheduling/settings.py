"""What may be set about one model's scheduling, and what is wrong with a setting."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sharedmodel.errors import BadArgument

WAIT_MOST: Final = 60.0
MANY: Final = 64  # runs at once of a model about which nothing is known


@dataclass(frozen=True)
class Scheduling:
    """How calls of one model wait and run. Raises BadArgument, which names every mistake.

    max_batch     most rows that run together; 1: no batching
    max_wait      seconds that a job may wait for others to be batched with; 0: only those that wait anyway
    token_budget  most tokens that run together, padding included: rows times the longest of them
    buckets       lengths, rising: only jobs between the same two of them are batched
    queue         jobs that may wait; the next one is refused. One client gets four fifths of the places
    lanes         how many runs there may be at once
    priorities    whether a job's own priority counts
    """

    max_batch: int = 1
    max_wait: float = 0.0
    token_budget: int | None = None
    buckets: tuple[int, ...] = ()
    queue: int = 4096
    lanes: int = 1
    priorities: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.buckets, list):  # as it comes out of TOML or JSON
            object.__setattr__(self, "buckets", tuple(self.buckets))
        found = problems({field.name: getattr(self, field.name) for field in dataclasses.fields(self)})
        if found:
            raise BadArgument("; ".join(f"{key}: {text}" for key, text in found.items()))


def problems(table: Mapping[str, Any]) -> dict[str, str]:
    """What is wrong with settings that were given: the key of each, and what would be right."""
    found = {key: f"unknown (allowed: {', '.join(_CHECKS)})" for key in table if key not in _CHECKS}
    for key, (right, text) in _CHECKS.items():
        if key in table and not right(table[key]):
            found[key] = f"{text}, not {table[key]!r}"
    if not found and table.get("max_batch", 1) == 1:
        for key in ("max_wait", "token_budget", "buckets"):
            if table.get(key):
                found[key] = "it says how to batch: set max_batch to more than 1 as well"
    return found


def _count(value: Any) -> bool:
    return type(value) is int and value >= 1


def _seconds(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and 0 <= value <= WAIT_MOST


def _edges(value: Any) -> bool:
    rising = isinstance(value, tuple | list) and all(_count(edge) for edge in value)
    return rising and list(value) == sorted(set(value))


_CHECKS: Final[Mapping[str, tuple[Callable[[Any], bool], str]]] = {
    "max_batch": (_count, "give a number of rows, 1 or more"),
    "max_wait": (_seconds, f"give seconds, from 0 to {WAIT_MOST:.0f}"),
    "token_budget": (lambda value: value is None or _count(value), "give a number of tokens, 1 or more"),
    "buckets": (_edges, "give lengths of 1 or more, each larger than the one before"),
    "queue": (_count, "give a number of jobs, 1 or more"),
    "lanes": (_count, "give a number of runs, 1 or more"),
    "priorities": (lambda value: type(value) is bool, "give true or false"),
}
