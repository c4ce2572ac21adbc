"""Calls that run longer than their model's `max_run`."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sharedmodel.client import connect
from sharedmodel.errors import DeadlineExceeded, LoadFailed, Stuck

from .servers import Server, release, running_server, until

CONFIG = """
[models.slow]
factory = "zoo:Loiterer"
idempotent = ["add", "pid", "held_by"]
max_run = 0.5
"""


@pytest.fixture
def server(runtime: str) -> Iterator[Server]:
    with running_server(CONFIG, runtime) as started:
        yield started


def test_a_method_that_stops_when_told_costs_nobody_the_host(server: Server) -> None:
    slow = connect(server.address).model("slow")
    before = slow.pid()
    with pytest.raises(Stuck, match=r"slow\.wait\(\) ran longer than its max_run, 0\.5 s"):
        slow.wait("polite")
    assert slow.pid() == before
    assert server.status()["restarts"] == 0


@pytest.mark.parametrize("how", ["python", "native"])
def test_the_host_of_a_method_that_can_not_be_stopped_is_replaced(how: str, server: Server) -> None:
    slow = connect(server.address).model("slow")
    before = slow.pid()
    with pytest.raises(Stuck, match="its host is replaced"):
        slow.wait(how)
    until(lambda: slow.pid() != before, lambda: server.log)
    death = server.status()["deaths"][-1]
    assert death["pid"] == before and "max_run" in death["reason"]
    assert [host["name"] for host in server.status()["hosts"]] == [""]  # and nobody is suspected


def test_what_is_called_when_a_host_is_about_to_be_replaced_runs_once(runtime: str) -> None:
    counted = '[models.gate]\nfactory = "zoo:Tally"\nidempotent = ["note"]\n'
    with running_server(CONFIG + counted, runtime) as server, ThreadPoolExecutor() as pool:
        host, notes = connect(server.address), Path(runtime, "notes")
        gate, slow = host.model("gate"), host.model("slow")
        server.process.send_signal(signal.SIGSTOP)  # it is slow to replace the host
        try:
            with pytest.raises(Stuck, match="its host is replaced"):
                slow.wait("native")
            noted = pool.submit(gate.note, str(notes))
            with pytest.raises(DeadlineExceeded):
                gate.with_timeout(1.0).note(f"{notes}.late")
        finally:
            server.process.send_signal(signal.SIGCONT)
        assert noted.result() == 1
        assert not Path(f"{notes}.late").exists()


def test_who_was_called_beside_a_stuck_one_has_its_result(runtime: str) -> None:
    config = CONFIG + '[models.other]\nfactory = "zoo:Echo"\nidempotent = ["held_by"]\n'
    with running_server(config, runtime) as server, ThreadPoolExecutor() as pool:
        host = connect(server.address)
        pipe = os.path.join(runtime, "pipe")
        os.mkfifo(pipe)
        beside = pool.submit(host.model("other").held_by, pipe)
        with open(pipe, "w"):
            with pytest.raises(Stuck):
                host.model("slow").wait("native")
            until(lambda: server.status()["restarts"] == 1, lambda: server.log)
        release(pipe, beside)
        assert beside.result() == server.host_pid


def test_a_native_call_that_keeps_the_interpreters_lock_is_noticed_as_well(
    server: Server,
) -> None:
    slow = connect(server.address).model("slow", timeout=60)
    before = slow.pid()
    with ThreadPoolExecutor() as pool:
        held = pool.submit(slow.wait, "lock")
        until(lambda: server.status()["restarts"] == 1, lambda: server.log)
        assert held.exception() is not None
    assert slow.pid() != before
    assert "no sign of life" in server.status()["deaths"][-1]["reason"]


def test_a_callers_own_deadline_costs_nobody_the_host(server: Server) -> None:
    slow = connect(server.address).model("slow")
    before = slow.pid()
    with pytest.raises(DeadlineExceeded):
        slow.with_timeout(0.1).wait("polite")
    assert slow.pid() == before


@pytest.mark.parametrize(("how", "replaced"), [("polite", False), ("native", True)])
def test_a_canary_that_gets_stuck_is_ended_as_a_call_is(how: str, replaced: bool, runtime: str) -> None:
    sign = Path(runtime, "loiter")
    canary = f'canary = {{method = "heed", args = ["{sign}", "{how}"]}}\ncanary_every = 0.1\n'
    with running_server(CONFIG + canary, runtime) as server:
        slow = connect(server.address).model("slow")
        before = slow.pid()
        sign.touch()
        if replaced:
            until(lambda: slow.pid() != before, lambda: server.log)
            assert "max_run" in server.status()["deaths"][-1]["reason"]
        else:
            until(lambda: "was not fit to serve" in server.log or "loaded again" in server.log, lambda: server.log)
            assert slow.pid() == before and server.status()["restarts"] == 0
        assert not sign.exists() and slow.add(1, 2) == 3


@pytest.mark.parametrize("what", ["canary", "warmup"])
def test_a_load_whose_canary_or_warm_up_gets_stuck_fails_and_the_next_one_may_do(what: str, runtime: str) -> None:
    sign = Path(runtime, "loiter")
    with running_server(CONFIG + f'{what} = {{method = "heed", args = ["{sign}", "polite"]}}\n', runtime) as server:
        host = connect(server.address)
        before = host.model("slow").pid()
        sign.touch()
        with pytest.raises(LoadFailed, match=r"slow\.heed\(\) ran longer than its max_run, 0\.5 s"):
            host.reload("slow")
        assert host.reload("slow")["state"] == "ready" and host.unload("slow")["state"] == "unloaded"
        assert host.model("slow").pid() == before


def test_a_canary_at_load_that_can_not_be_stopped_has_its_host_replaced(runtime: str) -> None:
    sign = Path(runtime, "loiter")
    canary = f'canary = {{method = "heed", args = ["{sign}", "native"]}}\n'
    with running_server(CONFIG + canary, runtime) as server, ThreadPoolExecutor() as pool:
        host = connect(server.address)
        before = host.model("slow").pid()
        sign.touch()
        reloading = pool.submit(host.reload, "slow")
        until(lambda: server.status()["restarts"] == 1, lambda: server.log)
        assert server.status()["deaths"][-1]["reason"].startswith("was replaced: slow.heed() ran for")
        assert host.model("slow").pid() != before and reloading.exception() is None
