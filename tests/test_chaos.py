"""Fifty kills over hosts and clients at random moments: nobody hangs, nothing is wrong, nothing is left."""

from __future__ import annotations

from scripts.chaos.storm import Storm

KILLS = 50
PAUSE = 0.15


def test_fifty_kills_cost_no_call_and_leave_nothing_behind(runtime: str) -> None:
    toll = Storm(runtime, KILLS, PAUSE, seed=20).run()
    assert toll.clean, str(toll)
    assert sum(toll.kills.values()) >= KILLS * 0.8
    assert toll.calls > 100
