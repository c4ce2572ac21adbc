"""Hosts and clients killed at random moments under load (see `scripts.chaos`)."""

from __future__ import annotations

import tempfile

from scripts.chaos.storm import Storm
from scripts.chaos.toll import FIRM

from .table import Row

KILLS = 1000
PAUSE = 0.4  # seconds between two, on average
SEED = 1


def run(kills: int = KILLS) -> list[Row]:
    """The rows of the table."""
    with tempfile.TemporaryDirectory(prefix="sm-", dir="/tmp") as directory:
        toll = Storm(directory, kills, PAUSE, SEED).run()
    told = ", ".join(f"{count} {what}" for what, count in sorted(toll.kills.items()))
    rows = [
        Row("kills", "", told, True),
        Row("answers, each one checked", "0 wrong", f"{toll.calls:,} calls, {toll.wrong} wrong", not toll.wrong),
        Row("calls of idempotent methods", "0 failed", f"{toll.failed} failed", not toll.failed),
        Row("slowest call", "0 hung", f"{toll.slowest:.2f} s, {toll.hung} hung", not toll.hung),
        Row("names, descriptors, processes", "0 leaked", ", ".join(toll.leaks) or "0 leaked", not toll.leaks),
        Row("memory of the supervisor", "flat", f"{toll.grown / 1e6:+.2f} MB", toll.grown <= FIRM),
        Row("anything else", "nothing", "; ".join(toll.notes) or "nothing", not toll.notes),
    ]
    for model, seconds in sorted(toll.outages.items()):
        ordered = sorted(seconds)
        text = f"p50 {ordered[len(ordered) // 2]:.2f} s, at most {ordered[-1]:.2f} s"
        rows.append(Row(f"{model}: from a kill to an answer", "", text, True))
    return rows
