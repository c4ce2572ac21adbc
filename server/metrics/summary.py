"""Each model's numbers over all its hosts, from what these told. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..names import full_name, model_of
from .histogram import Buckets, added, quantile
from .stages import OK


def of_models(hosts: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By model, all its versions together, since its hosts began: ``calls`` that ended, how many ``failed`` and how
    many of these were ``refused`` (never executed); calls ``waiting`` and ``running`` now; ``p50`` and ``p99``, in
    seconds, of the time from a call's frame to its answer, None before there was any.
    """
    told = list(hosts)
    found: dict[str, dict[str, Any]] = {}
    for host in told:
        for model, _, outcome, calls, refused in host.get("calls", ()):
            numbers = found.setdefault(model_of(model), _nothing())
            numbers["calls"] += calls
            numbers["failed"] += calls if outcome != OK else 0
            numbers["refused"] += refused
        for model, counts in host.get("under_way", {}).items():
            numbers = found.setdefault(model_of(model), _nothing())
            for key, count in counts.items():
                numbers[key] += count
    for model, numbers in found.items():
        buckets = totals(told, model)
        numbers.update(p50=quantile(buckets, 0.5), p99=quantile(buckets, 0.99))
    return found


def totals(hosts: Iterable[dict[str, Any]], model: str, stage: str = "total") -> Buckets:
    """A model's buckets of one stage over its versions and hosts."""
    stages = [told for host in hosts for name, told in host.get("stages", {}).items() if model_of(name) == model]
    return added(told[stage]["buckets"] for told in stages)


def runs(hosts: Iterable[dict[str, Any]], model: str) -> int:
    """How many runs the model's calls have had, over its versions and hosts; those of a batch have one together."""
    told = (runs for host in hosts for name, runs in host.get("runs", {}).items() if model_of(name) == model)
    return sum(map(sum, told))


def _nothing() -> dict[str, Any]:
    return {"calls": 0, "failed": 0, "refused": 0, "waiting": 0, "running": 0, "p50": None, "p99": None}


def with_numbers(models: dict[str, Any], hosts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The models' states and their numbers in one, and the ``memory`` they take: bytes, 0 where it is unknown."""
    told = list(hosts)
    numbers, memory = of_models(told), _memory(told)
    found = {}
    for name, model in models.items():
        found[name] = {**model, **numbers.get(name, _nothing()), "memory": memory.get(name, 0)}
        if "versions" in model:
            own = {version: memory.get(full_name(name, version), 0) for version in model["versions"]}
            versions = {version: {**model["versions"][version], "memory": own[version]} for version in own}
            found[name].update(versions=versions, memory=sum(own.values()))
    return found


def _memory(hosts: Iterable[dict[str, Any]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for host in hosts:
        for name, taken in host.get("model_memory", {}).items():
            found[name] = found.get(name, 0) + taken
    return found
