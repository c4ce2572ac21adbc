"""How much memory each model takes, from its host's before and after."""

from __future__ import annotations

from typing import Any

import pytest

from sharedmodel.server.metrics.summary import with_numbers
from sharedmodel.server.metrics.weights import Weights


class Process:
    memory = 100

    def __call__(self) -> int:
        return self.memory


@pytest.fixture
def process() -> Process:
    return Process()


@pytest.fixture
def weights(process: Process) -> Weights:
    return Weights(process)


def look(weights: Weights, **states: str) -> None:
    weights.look({name: {"state": state} for name, state in states.items()})


def test_a_model_takes_what_its_load_and_its_warm_up_took(weights: Weights, process: Process) -> None:
    for state, memory in [("absent", 100), ("loading", 110), ("warming", 500), ("ready", 610), ("ready", 900)]:
        process.memory = memory
        look(weights, net=state)
    assert weights.told() == {"net": 500}


@pytest.mark.parametrize("state", ["absent", "draining", "unloaded", "failed"])
def test_a_model_that_is_not_there_takes_nothing(weights: Weights, process: Process, state: str) -> None:
    look(weights, net="loading")
    process.memory = 600
    look(weights, net="ready")
    look(weights, net=state)
    assert weights.told() == {}


def test_what_a_failed_load_left_behind_is_no_models(weights: Weights, process: Process) -> None:
    look(weights, net="loading", other="ready")
    process.memory = 600
    look(weights, net="failed", other="ready")
    look(weights, net="loading", other="ready")
    process.memory = 650
    look(weights, net="ready", other="ready")
    assert weights.told() == {"net": 50}


def test_a_model_that_is_replaced_takes_what_its_replacement_took(weights: Weights, process: Process) -> None:
    look(weights, net="loading")
    process.memory = 600
    look(weights, net="ready")
    weights.look({"net": {"state": "ready", "replacement": "loading"}})
    process.memory = 1300
    look(weights, net="ready")
    assert weights.told() == {"net": 700}


def test_each_version_is_told_for_itself(weights: Weights, process: Process) -> None:
    def states(**versions: str) -> dict[str, Any]:
        own = {version: {"state": state} for version, state in versions.items()}
        return {"net": {"state": "ready", "default": "a", "versions": own}}

    for memory, told in [(100, ("loading", "absent")), (300, ("ready", "loading")), (800, ("ready", "ready"))]:
        process.memory = memory
        weights.look(states(a=told[0], b=told[1]))
    assert weights.told() == {"net@a": 200, "net@b": 500}
    (model,) = with_numbers(states(a="ready", b="ready"), [{"model_memory": weights.told()}]).values()
    assert (model["memory"], model["versions"]["a"]["memory"], model["versions"]["b"]["memory"]) == (700, 200, 500)


def test_the_memory_of_several_instances_adds_up() -> None:
    hosts = [{"model_memory": {"net": 200}}, {"model_memory": {"net": 300, "other": 5}}, {}]
    told = with_numbers({"net": {}, "cold": {}}, hosts)
    assert told["net"]["memory"] == 500 and told["cold"]["memory"] == 0
