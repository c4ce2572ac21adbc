"""`sharedmodel status`: what the supervisor answered, for people or for programs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final

from rich.text import Text

from .cli_console import colour_of, console, duration, print_json, table
from .cli_numbers import calls_table, clients_table, command_of
from .machine.amount import size

_MODEL: Final = ("MODEL", "KIND", "STATE", "THREADS", "MEMORY", "SINCE", "WHY")
_MEANING: Final = {
    "failing": "the host can't be started",
    "waiting": "the host ended and is about to be started again",
    "starting": "the host is starting",
    "loading": "serving, models are still loading",
    "stopping": "running calls finish",
    "unresponsive": "the host did not answer within 2 s; what follows may be old",
}
_DEATHS_SHOWN: Final = 5


def show(found: list[dict[str, Any]], as_json: bool) -> None:
    """Print it: one server, or each in turn."""
    if as_json:
        print_json(found[0] if len(found) == 1 else found)
        return
    out = console()
    for index, status in enumerate(found):
        if index:
            out.print()
        for part in _parts(status):
            out.print(part)


def _parts(status: dict[str, Any]) -> Iterator[Any]:
    yield _grid(_head(status))
    yield ""
    models = list(_each(status["models"]))
    threads = status["threads"]
    yield _models(models, threads)
    yield from (Text(f"  {line}", style="red") for name, told in models for line in _failures(name, told))
    if not status["models"]:
        yield Text("  no models yet")
    if (calls := calls_table(status["models"])) is not None:
        yield ""
        yield calls
    if status["sessions"]:
        yield ""
        yield clients_table(status["sessions"], command_of)
    if status["deaths"]:
        yield ""
        yield table(("HOST ENDED", "AFTER", "WHY"), _deaths(status["deaths"]), right=("AFTER",))


def _failures(name: str, told: dict[str, Any]) -> Iterator[str]:
    """What is wrong with a model; of one with several instances, with each of them."""
    for one in told.get("instances_failed", ()):
        yield f"{name}, instance {one['host']}: {'not replaced, ' if one['state'] == 'ready' else ''}{one['reason']}"
    if "instances_failed" in told:
        return
    if "reason" in told:
        yield f"{name}: {told['reason']}"
    elif "last_failure" in told:
        yield f"{name}: not replaced, {told['last_failure']}"


def _models(models: list[tuple[str, dict[str, Any]]], threads: dict[str, int]) -> Any:
    rows = [_model(name, told, threads) for name, told in models]
    if not any("device" in told for _, told in models):
        return table(_MODEL, rows, right=("THREADS", "MEMORY"))
    at = _MODEL.index("MEMORY") + 1
    devices = (_device(told) for _, told in models)
    rows = [(*row[:at], device, *row[at:]) for row, device in zip(rows, devices, strict=True)]
    return table((*_MODEL[:at], "DEVICE", *_MODEL[at:]), rows, right=("THREADS", "MEMORY"))


def _device(told: dict[str, Any]) -> str:
    taken = told.get("device_memory", 0)
    return f"{told.get('device', '')}{f', {size(taken)}' if taken else ''}"


def _grid(rows: Iterator[tuple[str, Any]]) -> Any:
    made = table(("", ""), rows)
    made.show_header = False
    made.columns[0].style = "dim"
    return made


def _head(status: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    state = status["state"]
    meaning = f" ({_MEANING[state]})" if state in _MEANING else ""
    yield "state", Text(state + meaning, style=colour_of(state))
    yield "directory", status["directory"]
    if status["embedded"]:
        yield "serves", f"embedded: what its user's programs ask for; ends after {status['idle_exit'] or 0:g} s idle"
    else:
        yield "serves", status["config"]
    if (refused := status.get("config_refused")) is not None:
        yield "not taken", Text(f"as it was read {_when(refused['at'])}:\n{refused['refused']}", style="red")
    memory = status["memory"]
    yield "memory", f"{size(memory['in_use'])} in use of {size(memory['budget'])} ({memory['source']})"
    for device in status["devices"]:
        numbers = f"{size(device['in_use'])} in use of {size(device['budget'])} ({device['source']})"
        yield device["name"], f"{numbers}, {device['title']}"
    yield "supervisor", _process(status["supervisor"])
    for host in status["hosts"]:
        yield f"host {host['name']}".rstrip(), _host(host)
    if (metrics := status.get("metrics")) is not None:
        yield "metrics", metrics["address"] + (f", pid {metrics['pid']}" if metrics["pid"] else ", starting again")


def _process(process: dict[str, Any]) -> str:
    up = duration(max(0.0, time.time() - process["since"]))
    # Its share, where it is known: what clients hold of shared memory is mapped in the host as well.
    memory = f", {size(process.get('pss', process['memory']))}" if "memory" in process else ""
    return f"pid {process['pid']}, up {up}{memory}"


def _host(host: dict[str, Any]) -> str:
    if host["pid"] is None:
        next_start = host["next_start"]
        return "none" if next_start is None else f"none; started again in {next_start:.1f} s"
    count = host["restarts"]
    return _process(host) + (f", restarted {count} time{'s' * (count != 1)}" if count else "")


def _each(models: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Models by name; of one with versions each of these, the default marked."""
    for name, model in sorted(models.items()):
        if "versions" not in model:
            yield name, model
        for version, told in sorted(model.get("versions", {}).items()):
            mark = " (default)" if version == model["default"] else ""
            yield f"{name}@{version}{mark}", told


def _model(name: str, model: dict[str, Any], threads: dict[str, int]) -> tuple[Any, ...]:
    text = model["state"]
    if "instances" in model:
        text += f", {model['instances_ready']} of {model['instances']}"
    if "replacement" in model:
        text += f", {model['replacement']} anew"
    state = Text(text, style=colour_of(model["state"]))
    since = _when(model["since"]) if "since" in model else ""
    memory = size(model["memory"]) if model["memory"] else ""
    of_it = str(threads.get(name.partition("@")[0], ""))
    return name, model["kind"], state, of_it, memory, since, _why(model)


def _why(model: dict[str, Any]) -> str:
    if "progress" in model:
        return str(model["progress"]["text"])
    return "" if "reason" in model else str(model.get("why", ""))


def _deaths(deaths: list[dict[str, Any]]) -> Iterator[tuple[Any, ...]]:
    for death in deaths[-_DEATHS_SHOWN:]:
        yield _when(death["at"]), duration(death["lived"]), death["reason"]


def _when(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
