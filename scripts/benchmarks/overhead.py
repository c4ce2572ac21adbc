"""What supervisor, scheduler and metrics add to a call that does nothing."""

from __future__ import annotations

import statistics
import tempfile
from typing import Any

from sharedmodel import manager
from sharedmodel.client import connect
from tests.servers import ECHO, running_server
from tests.zoo import Echo

from .clock import in_turn, micro
from .table import Row

MOST = 10e-6


class _Bare(manager.ModelManager):
    """The IPC layer alone."""


_Bare.register("Echo", Echo)


def run() -> list[Row]:
    """The row of the table."""
    bare: Any
    with (
        tempfile.TemporaryDirectory(prefix="sm-") as folder,
        running_server(ECHO, folder) as server,
        _Bare() as bare,
        connect(server.address) as host,
    ):
        calls = {"served": host.model("echo").pid, "bare": bare.Echo().pid}
        taken = in_turn(calls, rounds=25, count=dict.fromkeys(calls, 1000))
    added = statistics.median(a - b for a, b in zip(taken["served"], taken["bare"], strict=True))
    text = f"{added * 1e6:.1f} µs: {micro(taken['served'])} µs against {micro(taken['bare'])}"
    return [Row("a no-op of a configured server, over the bare IPC layer", "at most 10 µs", text, added <= MOST)]
