"""What a server tells of its work: counted exactly, over hosts, as Prometheus reads it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from sharedmodel.client import connect
from sharedmodel.errors import DeadlineExceeded, LoadFailed, NotExposed
from sharedmodel.server.metrics.stages import BATCH, STAGES
from sharedmodel.session import Session

from . import onnx_graphs as graphs
from .servers import ECHO, Server, command, release, running_server, until

CONFIG = """
[models.echo]
factory = "zoo:Echo"

[models.apart]
factory = "zoo:Echo"
isolate = true
instances = 2

[models.bad]
factory = "zoo:broken"
"""

Series = dict[str, str]


@pytest.fixture
def server(runtime: str) -> Iterator[Server]:
    with running_server(CONFIG, runtime) as started:
        yield started


def metrics() -> dict[str, list[tuple[Series, float]]]:
    """By sample name: labels and value."""
    found: dict[str, list[tuple[Series, float]]] = {}
    for family in text_string_to_metric_families(command("metrics")):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def total(rows: list[tuple[Series, float]], **labels: str) -> float:
    return sum(value for having, value in rows if labels.items() <= having.items())


def test_metrics_count_exactly_the_calls_that_were_made(server: Server) -> None:
    echo = connect(server.address).model("echo")

    def work(number: int) -> None:
        for value in range(100):
            echo.add(value)
        for _ in range(number):
            with pytest.raises(ValueError):
                echo.fail("on purpose")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    calls = metrics()["sharedmodel_calls_total"]
    assert total(calls, model="echo", method="add", outcome="ok") == 800
    assert total(calls, model="echo", method="fail", outcome="model") == sum(range(8))
    assert total(calls) == 800 + sum(range(8))


def test_calls_whose_callers_gave_up_waiting_are_no_successes(server: Server, runtime: str) -> None:
    pipe = os.path.join(runtime, "pipe")
    os.mkfifo(pipe)
    client = connect(server.address)
    with pytest.raises(DeadlineExceeded):
        client.model("echo", timeout=0.3).hold(pipe)

    def told() -> dict[str, Any]:
        found: dict[str, Any] = server.status()["models"]["echo"]
        return found

    assert told()["running"] == 1
    with ThreadPoolExecutor() as pool:
        release(pipe, pool.submit(until, lambda: told()["running"] == 0, lambda: server.log))
    calls = metrics()["sharedmodel_calls_total"]
    assert total(calls, model="echo", outcome="deadline") == 1 and total(calls, outcome="ok") == 0
    assert told()["failed"] == 1


def test_calls_of_several_instances_add_up(server: Server) -> None:
    apart = connect(server.address).model("apart")
    for value in range(40):
        apart.add(value)
    found = metrics()
    assert total(found["sharedmodel_calls_total"], model="apart", outcome="ok") == 40
    assert server.status()["models"]["apart"]["calls"] == 40


def test_histograms_sum_up_to_the_calls_that_ran(server: Server) -> None:
    echo = connect(server.address).model("echo")
    for value in range(30):
        echo.add(value)
    with pytest.raises(ValueError):
        echo.fail("on purpose")
    found = metrics()
    for stage in set(STAGES) - {BATCH}:
        own = {"model": "echo", "stage": stage}
        assert total(found["sharedmodel_call_seconds_count"], **own) == 31
        buckets = [value for labels, value in found["sharedmodel_call_seconds_bucket"] if own.items() <= labels.items()]
        assert buckets == sorted(buckets) and buckets[-1] == 31
    spent = [total(found["sharedmodel_call_seconds_sum"], stage=stage) for stage in STAGES]
    assert sum(spent[:-1]) == pytest.approx(spent[-1])
    assert total(found["sharedmodel_batch_size_count"], model="echo") == 31


@pytest.mark.skipif(find_spec("onnxruntime") is None, reason="onnxruntime is missing")
def test_calls_that_run_as_one_are_told_as_one_run(runtime: str) -> None:
    Path(runtime, "mlp.onnx").write_bytes(graphs.mlp())
    config = '[models.mlp]\nkind = "onnx"\npath = "mlp.onnx"\nmax_batch = 4\nmax_wait = 30\n'
    with running_server(config, runtime) as server, ThreadPoolExecutor(4) as pool:
        mlp = connect(server.address).model("mlp")
        feed = {each["name"]: np.ones([1, *each["shape"][1:]], "f4") for each in mlp.get_inputs()}
        list(pool.map(lambda _: mlp.run(None, feed), range(4)))
        found = metrics()
    assert total(found["sharedmodel_batch_size_bucket"], model="mlp", le="4.0") >= 1
    assert total(found["sharedmodel_call_seconds_count"], model="mlp", stage="batch") >= 4
    assert total(found["sharedmodel_batch_size_sum"], model="mlp") == total(
        found["sharedmodel_calls_total"], model="mlp"
    )
    (_, four), (_, two) = (
        next(row for row in found["sharedmodel_batch_size_bucket"] if row[0]["le"] == le) for le in ("4.0", "2.0")
    )
    assert four - two == 1


def test_errors_are_counted_by_their_code(server: Server) -> None:
    session = Session(server.address)
    try:
        for number in range(3):
            with pytest.raises(NotExposed):
                session.call("echo", f"made_up_{number}", (), {})
        with pytest.raises(LoadFailed):
            session.call("bad", "add", (1,), {})
    finally:
        session.close()
    found = metrics()
    assert total(found["sharedmodel_calls_total"], model="echo", method="?", outcome="not-exposed") == 3
    assert total(found["sharedmodel_calls_total"], model="bad", outcome="load-failed") == 1
    assert total(found["sharedmodel_refusals_total"], model="echo", reason="not-exposed") == 3
    assert total(found["sharedmodel_refusals_total"]) == 4


def test_a_result_that_comes_item_by_item_is_one_call(runtime: str) -> None:
    with running_server('[models.talker]\nfactory = "zoo:Talker"\n', runtime) as server:
        assert "".join(connect(server.address).model("talker").spell("a word")) == "a word"
        found = metrics()
        assert total(found["sharedmodel_calls_total"], method="spell", outcome="ok") == 1
        assert total(found["sharedmodel_call_seconds_count"], stage="infer") == 1
        assert total(found["sharedmodel_call_seconds_sum"], stage="transfer") == 0


def test_a_call_under_way_is_told_as_running(server: Server, runtime: str) -> None:
    pipe = os.path.join(runtime, "pipe")
    os.mkfifo(pipe)
    echo = connect(server.address).model("echo")
    with ThreadPoolExecutor() as pool:
        held = pool.submit(echo.hold, pipe)
        until(lambda: server.status()["models"]["echo"]["running"] == 1, lambda: str(server.status()))
        assert total(metrics()["sharedmodel_calls_running"], model="echo") == 1
        release(pipe, held)
    assert server.status()["models"]["echo"]["running"] == 0


def test_a_killed_hosts_restart_is_counted_with_its_reason(server: Server) -> None:
    server.kill_host(name="apart#1")
    server.kill_host()
    server.until("ready")
    restarts = metrics()["sharedmodel_host_restarts_total"]
    assert sorted((labels["host"], labels["cause"], value) for labels, value in restarts) == [
        ("#first", "SIGKILL", 1.0),
        ("apart#1", "SIGKILL", 1.0),
    ]


def test_shared_memory_is_told_by_session(server: Server) -> None:
    connect(server.address).model("echo").echo(bytes(20_000_000))
    held = metrics()["sharedmodel_session_bytes"]
    assert total(held, host="#first", pid=str(os.getpid()), kind="requests") >= 20_000_000


def test_each_host_tells_its_memory_descriptors_and_threads(server: Server) -> None:
    found = metrics()
    for host in ("#first", "apart#0", "apart#1"):
        assert total(found["sharedmodel_memory_bytes"], host=host, kind="rss") > 1e7
        assert total(found["sharedmodel_memory_bytes"], host=host, kind="pss") > 0
        assert total(found["sharedmodel_descriptors"], host=host) > 3
        assert total(found["sharedmodel_threads"], host=host) > 1
        assert total(found["sharedmodel_cpu_seconds_total"], host=host) > 0


def test_memory_is_told_by_model(runtime: str) -> None:
    # It loads alone: what a process grows by is divided among all that load at the time.
    with running_server('[models.heavy]\nfactory = "zoo:Weighty"\nargs = [100_000_000]\n', runtime) as server:
        taken = total(metrics()["sharedmodel_model_memory_bytes"], host="#first", model="heavy")
        assert 95e6 < taken == server.status()["models"]["heavy"]["memory"]
        (row,) = [line for line in command("status").splitlines() if line.startswith("heavy ")]
        assert re.search(r" 1\d\d MB ", row)


def test_the_budget_of_the_main_memory_is_told_and_what_of_it_is_in_use(runtime: str) -> None:
    with running_server(f'[server]\nmemory = "3 GiB"\n{ECHO}', runtime):
        told = metrics()["sharedmodel_main_memory_bytes"]
        assert total(told, kind="budget") == 3 << 30 and 1e7 < total(told, kind="in_use") < 3 << 30


def test_calls_of_a_version_count_for_their_model(runtime: str) -> None:
    config = '[models.net]\nfactory = "zoo:Echo"\ndefault = "a"\n[models.net.versions.a]\n[models.net.versions.b]\n'
    with running_server(config, runtime) as server:
        client = connect(server.address)
        client.model("net").add(1)
        client.model("net", version="b").add(1)
        assert server.status()["models"]["net"]["calls"] == 2
        assert total(metrics()["sharedmodel_calls_total"], model="net@b") == 1


def test_a_host_that_does_not_answer_does_not_keep_the_others_from_being_told(server: Server) -> None:
    connect(server.address).model("apart").add(1)
    server.stop_host()
    found = metrics()
    assert total(found["sharedmodel_calls_total"], model="apart") == 1
    assert total(found["sharedmodel_host_state"], host="#first", state="unresponsive") == 1
    os.kill(server.host_pid, 18)


def test_the_numbers_of_a_call_are_in_the_status_as_well(runtime: str) -> None:
    with running_server(ECHO, runtime) as server:
        echo = connect(server.address).model("echo")
        for value in range(10):
            echo.add(value)
        told = server.status()["models"]["echo"]
        assert (told["calls"], told["failed"], told["refused"], told["waiting"]) == (10, 0, 0, 0)
        assert 0 < told["p50"] <= told["p99"]
        (row,) = [line for line in command("status").splitlines() if line.startswith("echo ") and " ms" in line]
        assert row.split()[1] == "10"
