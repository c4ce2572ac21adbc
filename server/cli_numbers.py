"""How `status` and `top` show numbers: of models' calls, of clients and what they hold."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from rich.table import Table

from .cli_console import dense
from .cli_fit import Listing
from .machine.amount import size

HELD: Final = ("calls", "objects", "requests", "replies", "unsent")
_CLIENT: Final = ("CLIENT", "COMMAND", "CALLS", "OBJECTS", "ARGUMENTS", "RESULTS", "UNREAD")
_SPARE: Final = ("UNREAD", "OBJECTS", "RESULTS", "ARGUMENTS", "CALLS")
_CALLS: Final = ("MODEL", "CALLS", "FAILED", "REFUSED", "P50", "P99", "WAITING", "RUNNING")


def latency(seconds: float | None) -> str:
    """A short time for people: 0.42 ms."""
    if seconds is None:
        return "-"
    if seconds < 0.9995:
        return f"{1e3 * seconds:.{2 if seconds < 0.995e-3 else 1 if seconds < 9.95e-3 else 0}f} ms"
    return f"{seconds:.{1 if seconds < 9.95 else 0}f} s"


def calls_table(models: dict[str, Any]) -> Table | None:
    """Of the models that have been called; None where none was."""
    called = {name: told for name, told in models.items() if told["calls"] or told["waiting"] or told["running"]}
    rows = [
        (name, *(told[key] for key in ("calls", "failed", "refused")), latency(told["p50"]), latency(told["p99"]),
         told["waiting"], told["running"])
        for name, told in sorted(called.items())
    ]  # fmt: skip
    return dense(_CALLS, rows, right=_CALLS[1:], cut=("MODEL",)) if rows else None


def clients(sessions: Iterable[dict[str, Any]]) -> dict[int, dict[str, int]]:
    """By pid, what the sessions of a process hold together."""
    found: dict[int, dict[str, int]] = {}
    for session in sessions:
        held = found.setdefault(session["pid"], dict.fromkeys(HELD, 0))
        for key in HELD:
            held[key] += session[key]
    return dict(sorted(found.items()))


def clients_table(sessions: Iterable[dict[str, Any]], command: Callable[[int], str]) -> Table:
    """Who is connected and what each process holds, in bytes of shared memory (``command`` names it)."""
    return dense(_CLIENT, _client_rows(clients(sessions), command), right=_CLIENT[2:], cut=("COMMAND",))


def clients_listing(sessions: Iterable[dict[str, Any]], command: Callable[[int], str]) -> Listing:
    """The same for a screen that may be too small for it; who holds most comes first."""
    held = clients(sessions)
    order = sorted(held, key=lambda pid: -held[pid]["requests"] - held[pid]["replies"])
    rows = list(_client_rows({pid: held[pid] for pid in order}, command))
    return Listing(_CLIENT, rows, _CLIENT[2:], "COMMAND", _SPARE)


def _client_rows(held: dict[int, dict[str, int]], command: Callable[[int], str]) -> Iterator[tuple[Any, ...]]:
    for pid, each in held.items():
        memory = (size(each[key]) if each[key] else "-" for key in ("requests", "replies", "unsent"))
        yield pid, command(pid), each["calls"], each["objects"], *memory


def command_of(pid: int) -> str:
    """What a process was started as, its program without the folder; "?" where it is gone."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            program, *words = file.read().decode(errors="replace").rstrip("\0").split("\0")
    except OSError:
        return "?"
    return " ".join(" ".join((os.path.basename(program), *words)).split())[:60] or "?"
