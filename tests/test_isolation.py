"""Models with hosts of their own: what happens to one stays with it, and several instances share the work."""

from __future__ import annotations

import json
import os
import pickle
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from sharedmodel.client import aconnect, connect
from sharedmodel.errors import HostLost, LoadFailed

from .servers import Server, command, running_server, until, watching

APART = """
[models.apart]
factory = "zoo:Crasher"
isolate = true
idempotent = ["add", "pid"]

[models.beside]
factory = "zoo:Echo"
idempotent = ["add", "pid"]
"""
THREE = """
[models.three]
factory = "zoo:Echo"
isolate = true
instances = 3
idempotent = ["add", "pid"]
"""


@pytest.fixture
def apart(runtime: str) -> Iterator[Server]:
    with running_server(APART, runtime) as server:
        yield server


def test_an_isolated_model_has_a_process_of_its_own_and_is_found_by_its_name(apart: Server) -> None:
    host = connect(apart.address)
    assert host.model("apart").pid() == apart.pid_of("apart") != apart.host_pid
    assert host.model("beside").pid() == apart.host_pid
    states = host.models()
    assert {name: told["state"] for name, told in states.items()} == {"apart": "ready", "beside": "ready"}


@pytest.mark.parametrize("how", ["abort", "segfault", "exit", "kill"])
def test_a_model_that_crashes_touches_nobody_else(how: str, apart: Server) -> None:
    host = connect(apart.address)
    crasher, beside = host.model("apart"), host.model("beside")
    before = beside.pid()
    with pytest.raises(HostLost):
        crasher.crash(how)
    assert beside.pid() == before
    assert crasher.add(1, 2) == 3
    death = apart.status()["deaths"][-1]
    assert (death["host"], apart.status()["restarts"]) == ("apart", 1)
    expected = {"abort": "SIGABRT", "segfault": "SIGSEGV", "exit": "exit code 3", "kill": "SIGKILL"}
    assert expected[how] in death["reason"]


def test_the_directory_tells_how_an_isolated_model_stands(runtime: str) -> None:
    config = '[models.bad]\nfactory = "zoo:broken"\nisolate = true\n[models.good]\nfactory = "zoo:Echo"\n'
    with running_server(config, runtime) as server:
        host = connect(server.address)
        told = host.models()["bad"]
        assert told["state"] == "failed" and "no weights here" in told["reason"]
        with pytest.raises(LoadFailed, match="no weights here"):
            host.model("bad")
        assert host.model("good").add(1) == 1


def test_several_instances_are_processes_that_share_the_calls(runtime: str) -> None:
    with running_server(THREE, runtime) as server:
        three = connect(server.address).model("three")
        assert server.status()["models"]["three"]["instances_ready"] == 3
        pipe = os.path.join(runtime, "pipe")
        os.mkfifo(pipe)
        with ThreadPoolExecutor() as pool:
            held = [pool.submit(three.held_by, pipe) for _ in range(3)]
            # Each opens when a reader has come: all three run at once, which is one a process.
            writers = [os.open(pipe, os.O_WRONLY)]
            until(lambda: _waiting(server) == 3, lambda: "the calls do not run")
            for writer in writers:
                os.close(writer)
            assert len({future.result() for future in held}) == 3


def _waiting(server: Server) -> int:
    return sum(session["calls"] > 0 for session in server.status()["sessions"])


def test_which_of_several_instances_has_failed_and_why_is_told(runtime: str) -> None:
    shared = f'factory = "zoo:only"\nargs = ["{runtime}/one"]\nisolate = true\ninstances = 2\n'
    versions = 'default = "1"\nversions.1 = {}\nversions.2 = {factory = "zoo:Echo", args = []}\n'
    with running_server(f"[models.plain]\n{shared}[models.both]\n{shared.replace('/one', '/two')}{versions}", runtime):
        models = json.loads(command("status", "--json"))["models"]
        shown = command("status")
    both = models["both"]["versions"]
    for name, told in (("plain", models["plain"]), ("both@1 (default)", both["1"])):
        assert (told["state"], told["instances_ready"], told["instances"]) == ("ready", 1, 2)
        (failed,) = told["instances_failed"]
        assert failed["state"] == "failed" and "RuntimeError: there is one already" in failed["reason"]
        assert f"{name}, instance {failed['host']}: {failed['reason']}" in shown
    assert both["2"]["instances_ready"] == 2 and "instances_failed" not in both["2"]


def test_calls_go_on_at_the_other_instances_while_one_is_gone(runtime: str) -> None:
    with running_server(THREE, runtime) as server:
        three = connect(server.address).model("three")
        assert {three.pid() for _ in range(9)} == {server.pid_of(f"three#{n}") for n in range(3)}
        gone = server.pid_of("three#1")
        os.kill(gone, signal.SIGSTOP)
        with watching(gone) as ended:
            os.kill(gone, signal.SIGKILL)
            assert ended()
        assert gone not in {three.pid() for _ in range(9)}
        server.until("ready")
        assert len({three.pid() for _ in range(9)}) == 3


def test_a_model_with_instances_travels_by_pickle(runtime: str) -> None:
    with running_server(THREE, runtime) as server:
        three = pickle.loads(pickle.dumps(connect(server.address).model("three")))
        assert len({three.pid() for _ in range(9)}) == 3


async def _async_pids(address: str) -> set[int]:
    async with await aconnect(address) as host:
        three = await host.model("three")
        return {await three.pid() for _ in range(9)}


def test_an_event_loop_spreads_its_calls_as_well(runtime: str) -> None:
    import asyncio

    with running_server(THREE, runtime) as server:
        assert len(asyncio.run(_async_pids(server.address))) == 3


def test_a_changed_configuration_ends_begins_and_changes_only_what_differs(apart: Server) -> None:
    host = connect(apart.address)
    before = host.model("beside").pid()
    path = os.path.join(apart.place.directory, "config.toml")
    with open(path) as file:
        text = file.read()
    with open(path, "w") as file:
        file.write(text.replace("[models.apart]", "[models.new]"))
    os.kill(apart.process.pid, signal.SIGHUP)
    until(lambda: set(host.models()) == {"new", "beside"}, lambda: str(host.models()))
    apart.until("ready")
    assert host.model("beside").pid() == before
    assert host.model("new").add(1, 1) == 2
    assert not os.path.exists(apart.place.socket_of("apart"))
