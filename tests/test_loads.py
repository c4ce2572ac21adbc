"""Loads that end their host: it goes on without what it could not load."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sharedmodel.client import connect
from sharedmodel.errors import HostLost, LoadFailed
from sharedmodel.server.loads import FIRST_PAUSE, IN_TURN, LAST_PAUSE, Barred, loads

from .servers import running_server

BESIDE = """
[models.echo]
factory = "zoo:Echo"
idempotent = ["add", "pid"]
"""
LAZY = '[models.bad]\nfactory = "zoo:crashing"\nlazy = true\n'


def test_what_is_loaded_is_told_by_its_name_and_version_also_beside_what_serves() -> None:
    states = {
        "a": {"state": "loading"},
        "b": {"state": "ready"},
        "c": {"state": "ready", "replacement": "warming"},
        "d": {"state": "ready", "versions": {"1": {"state": "ready"}, "2": {"state": "loading"}}},
        "e": {"state": "loading", "progress": IN_TURN.plain()},
    }
    assert loads(states) == ["a", "c", "d@2"]
    assert loads(states, "ready") == ["b", "d@1"]


def test_a_load_that_ends_two_hosts_in_a_row_is_not_tried_for_a_while_and_then_ever_later() -> None:
    barred = Barred()
    barred.died(["a"], "crashed", 0.0)
    assert barred.told(0.0) == {"a": [0, ""]}, "alone"
    barred.died(["a"], "crashed", 10.0)
    [(left, why)] = barred.told(11.0).values()
    assert left == FIRST_PAUSE - 1 and "2 times in a row, the last one crashed" in why
    assert barred.told(10.0 + FIRST_PAUSE)["a"][0] == 0
    barred.forget(["a"])
    assert barred.told(0.0) == {}
    for _ in range(3):
        barred.died(["a"], "crashed", 10.0, called=True)
    assert barred.told(20.0) == {}, "it may have been a call"
    for _ in range(20):
        barred.died(["a"], "crashed", 100.0)
    assert barred.told(100.0)["a"][0] == LAST_PAUSE


@pytest.mark.parametrize("lazy", [True, False])
def test_a_model_whose_load_ends_the_host_twice_is_left_out_and_the_others_serve(lazy: bool, runtime: str) -> None:
    with running_server(BESIDE + (LAZY if lazy else LAZY.replace("lazy = true\n", "")), runtime, ready=False) as server:
        host = connect(server.address)
        echo = host.model("echo")
        with pytest.raises(LoadFailed, match=r"2 times in a row, the last one crashed with SIGSEGV.*isolate = true"):
            host.model("bad")
        before = echo.pid()
        with pytest.raises(LoadFailed, match="2 times in a row"):
            host.model("bad")
        assert echo.pid() == before
        status = server.status()
        assert status["restarts"] == 2 and status["models"]["bad"]["state"] == "failed"
        assert "crashed with SIGSEGV" in status["models"]["bad"]["reason"]


def test_a_host_that_answered_has_served_though_another_of_its_models_was_not_loaded_yet(runtime: str) -> None:
    pipe = os.path.join(runtime, "pipe")
    os.mkfifo(pipe)
    config = f'{BESIDE}[models.slow]\nfactory = "zoo:waiting"\nargs = ["{pipe}"]\n'
    crasher = '[models.crasher]\nfactory = "zoo:Crasher"\n'
    with running_server(config + crasher, runtime, ready=False) as server, ThreadPoolExecutor() as pool:
        host = connect(server.address)
        echo, bad = host.model("echo"), host.model("crasher")
        for how in ("segfault", "kill", "segfault", "exit", "segfault"):
            with pytest.raises(HostLost):
                bad.crash(how)
            assert echo.add(1, 2) == 3
        slow = pool.submit(host.model, "slow")
        Path(pipe).write_bytes(b"")
        assert slow.result().add(1, 2) == 3
        assert {death["ready"] for death in server.status()["deaths"]} == {True}
