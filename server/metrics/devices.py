"""The GPUs that models of a server run on, from what its hosts told. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def of_hosts(hosts: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """By name: ``title`` (what it is), ``budget`` and ``in_use`` in bytes, ``source`` of the budget, ``at``: when it
    was asked (seconds since the epoch), which is rarely. In use is what models are known to take there at least.

    Only those on which a model is now.
    """
    told = list(hosts)
    found: dict[str, dict[str, Any]] = {}
    for device in sorted((each for host in told for each in host.get("devices", ())), key=lambda each: each["at"]):
        found[device["name"]] = dict(device)
    taken: dict[str, int] = {}
    for host in told:
        for name, nbytes in host.get("model_devices", {}).values():
            taken[name] = taken.get(name, 0) + nbytes
    return [
        {**device, "in_use": max(device["in_use"], taken.get(name, 0))}
        for name, device in sorted(found.items())
        if name in taken
    ]
