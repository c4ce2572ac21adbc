"""What `sharedmodel top` shows: a pure function of two statuses, some seconds apart, of one server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.text import Text

from .cli_console import colour_of, duration, line
from .cli_fit import Fitted, Listing
from .cli_numbers import clients_listing, latency
from .machine.amount import size
from .metrics.health import unready
from .metrics.histogram import added, quantile, since
from .metrics.stages import OK
from .metrics.summary import runs, totals
from .names import model_of

_MODELS: Final = ("MODEL", "STATE", "MEMORY", "CALLS/S", "P50", "P99", "BATCH", "WAIT", "RUN", "FAILED")
_HOSTS: Final = ("HOST", "PID", "STATE", "UP", "CPU", "MEMORY", "SHARE", "THREADS", "FILES")
# Where there is no room for all.
_SPARE_OF_MODELS: Final = ("BATCH", "RUN", "P50", "WAIT", "MEMORY", "P99", "CALLS/S", "FAILED")
_SPARE_OF_HOSTS: Final = ("FILES", "THREADS", "SHARE", "UP", "CPU", "MEMORY")
_DEATHS_SHOWN: Final = 3

Status = dict[str, Any]


def frame(
    before: Status, now: Status, command: Callable[[int], str], at: float, height: int | None = None
) -> RenderableType:
    """The screen at the time ``at`` (since the epoch): rates and latencies are those from ``before`` to ``now``.

    ``command`` names a client's process. ``height``: the lines that there are, None for as many as it takes.
    """
    listings = [_models(before, now), _hosts(before, now, at)]
    if now["sessions"]:
        listings.append(clients_listing(now["sessions"], command))
    if now["deaths"]:
        listings.append(_deaths(now["deaths"], at))
    return Fitted([*_head(now, at), *_devices(now)], listings, height)


def absent(directory: str, why: str) -> RenderableType:
    """The screen while there is no server."""
    return Group(Text(f"no server in {directory}", style="red"), Text(f"  {why}"), Text("  it is tried again"))


def _head(now: Status, at: float) -> Iterator[Text]:
    supervisor = now["supervisor"]
    text = line("")
    text.append(now["state"], style=colour_of(now["state"]))
    text.append(f"  pid {supervisor['pid']}, up {duration(max(0.0, at - supervisor['since']))}  {now['directory']}")
    yield text
    shared = now.get("shared_memory")
    if shared is not None:
        held = sum(session["requests"] + session["replies"] for session in now["sessions"])
        yield line(
            f"/dev/shm  {size(shared['used'])} of {size(shared['size'])} used; clients of this hold {size(held)}"
        )


def _devices(now: Status) -> Iterator[Text]:
    yield line(f"memory    {_of_budget(now['memory'])}")
    for device in now["devices"]:
        there = [name for name, told in now["models"].items() if device["name"] in told.get("device", "").split(", ")]
        yield line(f"{device['name']:<9} {_of_budget(device)}{': ' if there else ''}{', '.join(sorted(there))}")


def _of_budget(device: dict[str, Any]) -> str:
    return f"{size(device['in_use'])} of {size(device['budget'])} used"


def _models(before: Status, now: Status) -> Listing:
    rows = [_model(name, told, before, now) for name, told in sorted(now["models"].items())]
    return Listing(_MODELS, rows, _MODELS[2:], "MODEL", _SPARE_OF_MODELS, list(_reasons(now)))


def _reasons(now: Status) -> Iterator[Text]:
    told = {name: each.get("reason", "") for name, each in now["models"].items() if each["state"] == "failed"}
    told |= {each["model"]: each["reason"] for each in unready(now) if "model" in each}
    for name, reason in sorted(told.items()):
        yield line(f"  {name}: {reason}", style="red")


def _model(name: str, told: dict[str, Any], before: Status, now: Status) -> tuple[Any, ...]:
    pairs = list(_same_hosts(before, now))
    calls, failed = (sum(_grown(old, new, name, only) for old, new in pairs) for only in (False, True))
    buckets = added(since(totals([new], name), totals([old], name)) for old, new in pairs)
    elapsed = now["at"] - before["at"]
    rate = f"{calls / elapsed:.{0 if calls > 10 * elapsed else 1}f}" if elapsed > 0 else "-"
    state = Text(told["state"], style=colour_of(told["state"]))
    times = latency(quantile(buckets, 0.5)), latency(quantile(buckets, 0.99))
    ran = sum(runs([new], name) - runs([old], name) for old, new in pairs)
    batch = f"{sum(buckets) / ran:.1f}" if ran > 0 else "-"
    memory = size(told["memory"]) if told["memory"] else "-"
    return name, state, memory, rate, *times, batch, told["waiting"], told["running"], failed


def _same_hosts(before: Status, now: Status) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each host then and now; then it was nothing, where another process was in its place."""
    then = {(host["name"], host["pid"]): host for host in before["hosts"]}
    for host in now["hosts"]:
        if "calls" in host:  # else it has not answered, which is not to have done nothing
            old = then.get((host["name"], host["pid"]), {})
            yield old if "calls" in old or not old else host, host


def _grown(old: dict[str, Any], new: dict[str, Any], model: str, only_failed: bool) -> int:
    return _count(new, model, only_failed) - _count(old, model, only_failed)


def _count(host: dict[str, Any], model: str, only_failed: bool) -> int:
    of_model = [each for each in host.get("calls", ()) if model_of(each[0]) == model]
    return sum(each[3] for each in of_model if not only_failed or each[2] != OK)


def _hosts(before: Status, now: Status, at: float) -> Listing:
    then = {host["pid"]: host for host in before["hosts"]}
    rows = [_host(host, then.get(host["pid"], {}), at) for host in now["hosts"]]
    return Listing(_HOSTS, rows, ("PID", *_HOSTS[3:]), "HOST", _SPARE_OF_HOSTS)


def _host(host: dict[str, Any], old: dict[str, Any], at: float) -> tuple[Any, ...]:
    state = Text(host["state"], style=colour_of(host["state"]))
    name = host["name"] or "shared"
    if host["pid"] is None or "cpu" not in host:
        return name, host["pid"] or "-", state, *["-"] * 6
    elapsed = host["at"] - old["at"] if "cpu" in old else 0.0
    cpu = f"{100 * (host['cpu'] - old['cpu']) / elapsed:.0f} %" if elapsed > 0 else "-"
    up = duration(max(0.0, at - host["since"]))
    return (
        name,
        host["pid"],
        state,
        up,
        cpu,
        *(size(host[key]) if key in host else "-" for key in ("memory", "pss")),
        host["threads"],
        host["descriptors"],
    )


def _deaths(deaths: list[dict[str, Any]], at: float) -> Listing:
    rows = [_death(death, at) for death in reversed(deaths[-_DEATHS_SHOWN:])]
    return Listing(("HOST", "ENDED", "AFTER", "WHY"), rows, (), "WHY", ("AFTER",), folds=True)


def _death(death: dict[str, Any], at: float) -> tuple[str, ...]:
    ago = f"{duration(max(0.0, at - death['at']))} ago"
    return death["host"] or "shared", ago, duration(death["lived"]), death["reason"]
