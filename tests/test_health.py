"""Readiness tells the truth: of models that load, that failed, whose host is down."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sharedmodel.client import connect
from sharedmodel.errors import LoadFailed
from sharedmodel.server.metrics.health import unready

from .servers import ECHO, release, running_server, until


def status(model: str = "ready", host: str = "ready", first: str = "ready", **more: Any) -> dict[str, Any]:
    hosts = [{"name": "", "state": first}, {"name": "ocr#0", "state": host}, {"name": "ocr#1", "state": "waiting"}]
    models = {"ocr": {"state": model, "host": "ocr"}, "net": {"state": "ready", "host": ""}}
    return {"state": "ready", "directory": "/run/x", "hosts": hosts, "models": models, "deaths": [], **more}


def test_a_model_with_one_instance_of_two_is_ready() -> None:
    assert unready(status()) == []


@pytest.mark.parametrize("state", ["loading", "warming", "failed"])
def test_a_model_that_is_not_there_yet_is_named(state: str) -> None:
    assert [(each["model"], each["state"]) for each in unready(status(state))] == [("ocr", state)]


@pytest.mark.parametrize("state", ["absent", "unloaded", "draining"])
def test_a_model_at_rest_is_no_fault_because_its_next_call_loads_it(state: str) -> None:
    assert unready(status(state)) == []


@pytest.mark.parametrize("state", ["loading", "warming", "failed"])
def test_a_lazy_model_that_is_not_there_is_at_rest_because_only_its_callers_load_it(state: str) -> None:
    told = status(state)
    told["models"]["ocr"]["lazy"] = True
    assert unready(told) == []


@pytest.mark.parametrize("state", ["waiting", "starting", "failing", "unresponsive"])
def test_a_model_whose_hosts_are_down_is_not_ready(state: str) -> None:
    death = {"host": "ocr#0", "reason": "crashed with SIGSEGV"}
    (found,) = unready(status("absent", host=state, deaths=[death]))
    assert found["model"] == "ocr" and f"its host is {state}" in found["reason"]
    assert ("SIGSEGV" in found["reason"]) == (state != "unresponsive")


@pytest.mark.parametrize("state", ["waiting", "starting", "failing", "unresponsive"])
def test_without_the_first_host_nothing_is_ready(state: str) -> None:
    assert [(each["server"], each["state"]) for each in unready(status(first=state))] == [("/run/x", state)]


def test_a_server_that_stops_is_not_ready() -> None:
    assert unready(status(state="stopping"))[0]["state"] == "stopping"


def test_the_quarantine_serves_no_model() -> None:
    told = status()
    told["hosts"].append({"name": "#quarantine", "state": "failing"})
    assert unready(told) == []


def test_readiness_follows_a_real_server_through_loading_and_a_hosts_death(runtime: str) -> None:
    pipe = os.path.join(runtime, "pipe")
    os.mkfifo(pipe)
    config = f'{ECHO}[models.slow]\nfactory = "zoo:waiting"\nargs = ["{pipe}"]\nisolate = true\n'
    with running_server(config, runtime, ready=False) as server, ThreadPoolExecutor() as pool:
        until(lambda: server.status()["models"]["echo"]["state"] == "ready", lambda: server.log)
        until(lambda: bool(server.status()["models"]["slow"]["state"] == "loading"), lambda: server.log)
        assert [(each["model"], each["state"]) for each in unready(server.status())] == [("slow", "loading")]
        release(pipe, pool.submit(server.until, "ready"))
        assert unready(server.status()) == []
        server.kill_host(name="slow")
        until(lambda: bool(unready(server.status())), lambda: server.log)
        release(pipe, pool.submit(server.until, "ready"))
        assert unready(server.status()) == []


def test_a_failed_call_of_a_lazy_model_leaves_a_real_server_ready(runtime: str) -> None:
    lazy = '[models.late]\nfactory = "zoo:broken"\nlazy = true\n'
    with running_server(ECHO + lazy, runtime) as server:
        with pytest.raises(LoadFailed):
            connect(server.address).model("late").add(1)
        told = server.status()
        assert told["models"]["late"]["state"] == "failed" and unready(told) == []
