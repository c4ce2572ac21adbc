"""Whether a server does what it should, from its status. Pure."""

from __future__ import annotations

from typing import Any, Final

from ..progress import told_of

# A model at rest (absent, unloaded, draining) is no fault: its next call loads it. A lazy one is never more than at
# rest: nobody but its callers loads it, also after a failure, and a balancer that sends none would wait for ever.
_NOT_YET: Final = ("loading", "warming", "failed")
_UP: Final = ("ready", "loading")


def unready(status: dict[str, Any]) -> list[dict[str, str]]:
    """Why callers had better wait: one entry for the server, or for each model that should be ready and is not.

    ``{"server" or "model": name, "state": ..., "reason": ...}``; empty when all is well.
    """
    hosts = {host["name"]: host for host in status["hosts"]}
    if status["state"] == "stopping":
        return [{"server": status["directory"], "state": "stopping", "reason": "it was told to stop"}]
    first = hosts[""]["state"]
    if first not in _UP:
        # Every client asks it first, wherever its model is.
        return [{"server": status["directory"], "state": first, "reason": _of_host("", first, status)}]
    found = []
    for name, model in sorted(status["models"].items()):
        own = [host["state"] for key, host in hosts.items() if _serves(key, model["host"])]
        if not any(state in _UP for state in own):
            reason = model.get("reason") or _of_host(model["host"], own[0] if own else "gone", status)
            found.append({"model": name, "state": model["state"], "reason": reason})
        elif model["state"] in _NOT_YET and not model.get("lazy"):
            found.append({"model": name, "state": model["state"], "reason": _why(model)})
    return found


def _why(model: dict[str, Any]) -> str:
    return str(model.get("reason") or "; ".join(told_of(model)) or "not ready yet")


def _serves(host: str, own: str) -> bool:
    return host == own or (own != "" and host.startswith(f"{own}#"))


def _of_host(name: str, state: str, status: dict[str, Any]) -> str:
    deaths = [death for death in status["deaths"] if _serves(death["host"], name)]
    why = f"; the last one {deaths[-1]['reason']}" if deaths and state != "unresponsive" else ""
    return f"its host is {state}{why}"
