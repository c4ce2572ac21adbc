"""Models within the memory that a server was given: real processes, real memory."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sharedmodel.client import Host, connect
from sharedmodel.errors import NotEnoughMemory

from .servers import Server, command, running_server, until

MB = 1_000_000
HEAVY = 150 * MB  # of zoo.Heavy


def config(memory: int, runtime: str, more: str = "") -> str:
    models = [f'[models.{name}]\nfactory = "zoo:Heavy"\nlazy = true\n{more}' for name in ("one", "two", "three")]
    large = f'[models.large]\nkind = "onnx"\npath = "{runtime}/large.onnx"\nlazy = true\n'
    return "".join([f"[server]\nmemory = {memory}\n", *models, "keep = true\n", large])


@contextmanager
def serving(runtime: str, beyond: int, more: str = "") -> Iterator[tuple[Server, Host]]:
    """A server that may use so many bytes more than it does without a model; what each takes is known to it."""
    with open(Path(runtime, "large.onnx"), "wb") as file:
        file.truncate(10_000 * MB)  # of which nothing is on the disk, and nothing will be read
    with running_server(config(1000 * MB, runtime, more), runtime) as server:
        alone = int(server.status()["memory"]["in_use"])
    assert alone > 10 * MB
    with running_server(config(alone + beyond, runtime, more), runtime) as server, connect(server.address) as host:
        for name in ("one", "two", "three"):
            host.load(name)
            host.unload(name)
        yield server, host


def states(host: Host) -> dict[str, str]:
    return {name: told["state"] for name, told in host.models().items()}


def test_a_model_that_does_not_fit_has_the_least_recently_used_one_unloaded(runtime: str) -> None:
    with serving(runtime, 400 * MB) as (server, host):
        for name in ("one", "two", "one", "three"):
            assert host.model(name).size() == HEAVY
        assert states(host) == {"one": "ready", "two": "unloaded", "three": "ready", "large": "absent"}
        assert "to make room for three" in host.models()["two"]["why"]
        assert host.model("two").size() == HEAVY  # three is kept
        assert states(host) == {"one": "unloaded", "two": "ready", "three": "ready", "large": "absent"}
        told = server.status()["memory"]
        assert told["source"] == "configuration" and 290 * MB < told["in_use"] < told["budget"]


def test_models_with_hosts_of_their_own_make_room_for_one_another(runtime: str) -> None:
    with serving(runtime, 400 * MB, "isolate = true\n") as (server, host):
        for name in ("one", "two", "one", "three"):
            assert host.model(name).size() == HEAVY
        # An answer may be here before the news that its host tells of itself.
        end = {"one": "ready", "two": "unloaded", "three": "ready", "large": "absent"}
        until(lambda: states(host) == end, lambda: str(states(host)))
        assert "to make room for three" in host.models()["two"]["why"]
        os.kill(server.pid_of("one"), signal.SIGKILL)  # whose memory comes back without anybody's saying so
        assert host.model("two").size() == HEAVY
        assert states(host)["three"] == "ready"


def test_a_model_that_can_never_fit_is_refused_with_its_numbers_and_the_others_go_on(runtime: str) -> None:
    with serving(runtime, 400 * MB) as (server, host):
        assert host.model("one").size() == HEAVY
        with pytest.raises(NotEnoughMemory, match="model 'large' needs 20 GB on cpu") as raised:
            host.model("large").get_inputs()
        told = raised.value
        assert told.needed == 20_000 * MB and told.budget == server.status()["memory"]["budget"]
        assert told.in_use > HEAVY and told.freeable == pytest.approx(HEAVY, rel=0.1)
        assert states(host) == {"one": "ready", "two": "unloaded", "three": "unloaded", "large": "failed"}
        assert host.model("one").size() == HEAVY
        assert server.status()["restarts"] == 0


def test_status_tells_the_budget_and_what_each_model_takes(runtime: str) -> None:
    with serving(runtime, 400 * MB) as (_, host):
        host.load("two")
        found = json.loads(command("status", "--json", "--runtime-dir", runtime))
        assert found["models"]["two"]["memory"] == pytest.approx(HEAVY, rel=0.1)
        assert found["models"]["one"]["memory"] == 0
        shown = command("status", "--runtime-dir", runtime)
        assert f"in use of {found['memory']['budget'] / MB:.0f} MB (configuration)" in shown
        (line,) = (line for line in shown.splitlines() if line.startswith("two"))
        assert "MB" in line
