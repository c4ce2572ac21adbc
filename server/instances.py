"""A model with several instances as one: how the best of them stands, and what is wrong with the others. Pure."""

from __future__ import annotations

from typing import Any, Final

_BEST: Final = ("ready", "warming", "loading", "draining", "failed", "absent", "unloaded")


def merged(instances: list[dict[str, Any]]) -> dict[str, Any]:
    """The states of all, each with its ``host``, in one; the only one as it is.

    ``instances_failed``: those that could not be loaded, or loaded anew, or whose host is gone, each with its reason.
    """
    if len(instances) == 1:
        return instances[0]
    best = min(instances, key=lambda told: _BEST.index(told["state"]))
    devices = sorted({told["device"] for told in instances if "device" in told})
    on = {"device": ", ".join(devices), "device_memory": sum(told.get("device_memory", 0) for told in instances)}
    failed = [
        {"host": told["host"], "state": told["state"], "reason": why} for told in instances if (why := _why(told))
    ]
    versions = {name: _of_version(name, instances) for name in best.get("versions", ())}
    return {
        **best,
        **(on if devices else {}),
        **({"instances_failed": failed} if failed else {}),
        **({"versions": versions} if versions else {}),
        "host": best["host"].partition("#")[0],
        "instances": len(instances),
        "instances_ready": sum(told["state"] == "ready" for told in instances),
    }


def _of_version(version: str, instances: list[dict[str, Any]]) -> dict[str, Any]:
    """Where a host is gone nothing is known of its versions but that."""
    return merged([{**told.get("versions", {}).get(version, told), "host": told["host"]} for told in instances])


def _why(told: dict[str, Any]) -> str:
    return str(told.get("reason") or told.get("last_failure") or "")
