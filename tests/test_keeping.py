"""A host's models from their settings to their end, with the time in the test's hand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sharedmodel.errors import BadArgument, LoadFailed
from sharedmodel.objects import Objects
from sharedmodel.process import resident
from sharedmodel.server.beat import Beat
from sharedmodel.server.lifecycle import RETRY_FIRST
from sharedmodel.server.rounds import NEVER
from sharedmodel.server.settings import ModelSettings, ProbeSettings, Upkeep
from sharedmodel.server.table import Table

from . import onnx_graphs
from .nets import Made, Net
from .servers import PATIENCE, until

PREDICT = ProbeSettings("predict", args=[[1.0, 2.0]])


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    fresh = Made()
    monkeypatch.setattr(Net, "made", fresh)
    return fresh


class House:
    """A table and its clock."""

    def __init__(self) -> None:
        self.objects = Objects()
        self.now = 1000.0
        self.table = Table(self.objects, clock=lambda: self.now)

    def add(self, name: str = "net", **upkeep: Any) -> None:
        self.table.add(name, ModelSettings(factory="tests.nets:Net", upkeep=Upkeep(**upkeep)))

    def call(self, method: str = "predict", *args: Any, name: str = "net") -> Any:
        """As the service does."""
        try:
            served = self.objects.get(name)
        except KeyError:
            wait = self.objects.announced(name)
            assert wait is not None
            served = wait()
        return served.method(method)(*args)

    def state(self, name: str = "net") -> str:
        return str(self.table.state(name)["state"])

    def rest(self) -> None:
        """Until no thread of a model is at work."""
        until(lambda: not self.working(), lambda: str(self.working()))

    def working(self) -> list[str]:
        kinds = ("load-", "canary-", "idle-")
        return [thread.name for thread in threading.enumerate() if thread.name.startswith(kinds)]

    def after(self, seconds: float) -> float:
        """What the beat does after so many seconds; in how many it looks again."""
        self.now += seconds
        left = self.table.beat.look()
        self.rest()
        return left


@pytest.fixture
def house(made: Made) -> Iterator[House]:
    started = House()
    yield started
    started.rest()


def test_a_model_is_ready_when_its_canary_has_sung(house: House, made: Made) -> None:
    house.add(canary=[PREDICT], warmup=[ProbeSettings("predict", args=[[0.0] * 100])])
    house.table.start("net")
    house.rest()
    assert house.state() == "ready"
    assert [len(x) for x in made.last.asked] == [2, 100]
    told = house.table.state("net")
    assert [change["state"] for change in told["history"]] == ["absent", "loading", "warming", "ready"]
    assert told["history"][1]["why"] == "with its server" and "canary" in told["why"]


@pytest.mark.parametrize(
    ("upkeep", "told"),
    [
        ({"canary": [ProbeSettings("predict", args=["x"])]}, r"its canary predict\(\) raised ValueError"),
        ({"canary": [ProbeSettings("predict", [1.0], {}, 3.0)]}, "gave .*2.0.*, where 3.0 is expected"),
        ({"canary": [ProbeSettings("sing")]}, "no method 'sing'; it has: close, count, predict, wait"),
        ({"canary": [ProbeSettings()]}, "does not say which `method`"),
        ({"canary": [], "warmup": [ProbeSettings("predict")]}, r"its warm-up predict\(\) raised TypeError"),
    ],
)
def test_a_model_that_fails_its_canary_is_failed_and_says_why(house: House, upkeep: Any, told: str) -> None:
    house.add(**upkeep)
    with pytest.raises(LoadFailed, match=told):
        house.table.wait("net")
    house.rest()
    assert house.state() == "failed" and "could not be loaded" in house.table.state("net")["reason"]


def test_a_model_that_could_not_be_loaded_comes_back_without_being_called(
    house: House, made: Made, caplog: pytest.LogCaptureFixture
) -> None:
    made.broken = "no disk"
    house.add()
    house.table.start("net")
    house.rest()
    assert house.state() == "failed"
    assert house.after(0) == RETRY_FIRST
    house.after(RETRY_FIRST)
    assert house.state() == "failed"
    assert house.after(0) == 2 * RETRY_FIRST
    assert caplog.text.count("no disk") == 3 and caplog.text.count("Traceback") == 1  # the same is told briefly
    made.broken = ""
    house.after(2 * RETRY_FIRST)
    assert house.state() == "ready"


def test_a_lazy_model_that_could_not_be_loaded_waits_for_its_next_call(house: House, made: Made) -> None:
    made.broken = "no disk"
    house.add(lazy=True)
    with pytest.raises(LoadFailed):
        house.call()
    house.rest()
    assert house.after(0) == NEVER
    made.broken = ""
    assert house.after(2 * RETRY_FIRST) == NEVER and house.state() == "failed"
    assert house.call("predict", [1.0]).tolist() == [2.0]
    house.rest()


def onnx(house: House, path: Path, graph: bytes, **upkeep: Any) -> dict[str, Any]:
    path.write_bytes(graph)
    options = {"path": str(path), "threads": 1}
    house.table.add("net", ModelSettings("onnx", options, upkeep=Upkeep(**upkeep)))
    house.table.wait("net")
    return house.table.state("net")


def test_an_onnx_model_has_a_canary_of_its_own(house: House, tmp_path: Path) -> None:
    told = onnx(house, tmp_path / "n.onnx", onnx_graphs.add())
    assert "canary" in told["why"] and "no canary" not in told["why"]
    assert house.after(0) == 60.0


def test_where_ones_do_not_fit_a_model_it_has_no_canary_and_that_is_told(
    house: House, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert onnx(house, tmp_path / "n.onnx", onnx_graphs.square())["why"].endswith("no canary")
    assert "model net has no canary" in caplog.text and house.after(0) == NEVER


def test_an_onnx_canary_is_given_its_inputs_by_name(house: House, tmp_path: Path) -> None:
    probe = ProbeSettings(kwargs={"x": f"@{tmp_path}/x.npy"}, expect=[[[1.0, 2.0, 3.0, 4.0]]])
    np.save(tmp_path / "x.npy", np.float32([[1, 2, 3, 4]]))
    assert "canary" in onnx(house, tmp_path / "n.onnx", onnx_graphs.square(), canary=[probe])["why"]
    np.save(tmp_path / "x.npy", np.float32([[1, 2, 3, 5]]))
    with pytest.raises(LoadFailed, match="is expected"):
        house.table.reload("net")
    assert house.state() == "ready"


def test_the_canary_sings_on_its_beat_and_a_model_that_forgets_it_is_loaded_again(house: House, made: Made) -> None:
    house.add(canary=[PREDICT], canary_every=60.0)
    house.call("predict", [1.0])
    assert house.after(0) == 60.0
    house.after(60)
    assert len(made.last.asked) == 3 and len(made.models) == 1
    made.last.drift = 1e-3
    house.after(60)
    assert len(made.models) == 2 and made.closed == 1
    history = house.table.state("net")["history"]
    assert any("another result than when it was loaded" in change["why"] for change in history)
    assert house.call("predict", [1.0])[0] == 2 and house.state() == "ready"


def test_a_model_whose_canary_raises_leaves_and_is_failed_where_the_next_one_is_no_better(
    house: House, made: Made
) -> None:
    house.add(canary=[PREDICT])
    house.call("predict", [1.0])
    made.last.drift, made.broken = float("inf"), "no memory"
    house.after(60)
    assert house.state() == "failed"
    with pytest.raises(LoadFailed, match="no memory"):
        house.call("predict", [1.0])
    made.broken = ""
    house.now += 5
    assert house.call("predict", [1.0])[0] == 2


def test_without_a_beat_or_a_canary_nobody_looks(house: House) -> None:
    house.add("one", canary=[PREDICT], canary_every=0.0)
    house.add("two")
    for name in ("one", "two"):
        house.call("predict", [1.0], name=name)
    assert house.after(1000) == NEVER


def test_a_lazy_model_is_loaded_by_its_first_call(house: House, made: Made) -> None:
    house.add(lazy=True)
    house.table.start("net")
    assert house.state() == "absent" and house.table.settled and not made.models
    assert house.call("predict", [1.0])[0] == 2 and house.state() == "ready"


def test_an_eager_model_that_has_not_begun_to_load_is_waited_for(house: House) -> None:
    house.add()
    assert not house.table.settled
    house.table.start("net")
    house.rest()
    assert house.table.settled


def test_an_idle_model_is_unloaded_and_comes_back_with_its_next_call(house: House, made: Made) -> None:
    house.add(ttl=300.0)
    house.call("predict", [1.0])
    house.after(299)
    house.call("predict", [1.0])
    house.after(2)  # it has been seen to be used
    house.after(299)
    assert house.state() == "ready"
    house.after(1)
    assert house.state() == "unloaded" and made.closed == 1
    assert "idle for 300 s" in [change["why"] for change in house.table.state("net")["history"]]
    assert house.call("predict", [1.0])[0] == 2 and len(made.models) == 2


def test_a_model_that_is_at_work_is_not_idle(house: House, made: Made) -> None:
    house.add(ttl=300.0)
    with ThreadPoolExecutor() as pool:
        running = pool.submit(house.call, "wait")
        until(lambda: bool(made.models) and made.last.inside.is_set(), lambda: "not inside")
        house.after(1000)
        assert house.state() == "ready"
        made.last.leave.set()
        assert running.result() == 2.0


def test_what_is_unloaded_is_really_gone(house: House, made: Made) -> None:
    house.table.add(
        "net", ModelSettings(factory="tests.nets:Net", kwargs={"ballast": 100 << 20}, upkeep=Upkeep(canary=[PREDICT]))
    )
    house.call("predict", [1.0])
    made.last.ballast[:] = b"x" * (100 << 20)
    before = resident()
    house.table.unload("net")
    assert made.models[0]() is None
    assert before - resident() > 80 << 20


def test_what_is_replaced_is_gone_as_well_and_so_is_what_did_not_come_about(house: House, made: Made) -> None:
    house.add(canary=[PREDICT])
    house.call("predict", [1.0])
    house.table.reload("net")
    house.rest()
    assert made.models[0]() is None and made.models[1]() is not None and made.closed == 1
    made.drift = float("inf")
    with pytest.raises(LoadFailed, match="out of order"):
        house.table.reload("net")
    house.rest()
    assert made.models[2]() is None and made.closed == 2
    assert made.models[1]() is not None and house.state() == "ready"
    assert "out of order" in house.table.state("net")["last_failure"]


def test_a_stream_goes_on_when_its_model_is_unloaded(house: House, made: Made) -> None:
    house.add()
    stream = house.call("count", 3)
    with ThreadPoolExecutor() as pool:
        unloading = pool.submit(house.table.unload, "net")
        until(lambda: house.state() == "draining", house.state)
        assert not made.closed and list(stream) == [0, 1, 2]
        assert unloading.result()["state"] == "unloaded" and made.closed == 1


def test_warming_up_makes_the_calls_again_and_finds_a_sick_model(house: House, made: Made) -> None:
    house.add(canary=[PREDICT], warmup=[PREDICT])
    assert house.table.warm_up("net")["state"] == "ready"
    assert len(made.last.asked) == 4
    made.last.drift = float("inf")
    with pytest.raises(LoadFailed, match="out of order"):
        house.table.warm_up("net")
    made.last.drift = 1.0
    with pytest.raises(LoadFailed, match=r"is loaded again: .* another result"):
        house.table.warm_up("net")
    assert house.call("predict", [1.0])[0] == 2 and len(made.models) == 2


def test_the_error_for_a_model_that_there_is_not_names_those_that_there_are(house: House) -> None:
    house.add()
    for ask in (house.table.load, house.table.reload, house.table.unload, house.table.warm_up, house.table.wait):
        with pytest.raises(BadArgument, match="no model 'nut' here; there are: net"):
            ask("nut")
    with pytest.raises(BadArgument):
        house.table.load([])  # type: ignore[arg-type]


def test_the_beat_wakes_for_what_has_become_due_and_ends(made: Made) -> None:
    table = Table(Objects())
    table.add("net", ModelSettings(factory="tests.nets:Net", upkeep=Upkeep(ttl=0.2)))
    table.beat.start()
    table.wait("net")
    _becomes(lambda: str(table.state("net")["state"]), "unloaded")
    table.beat.stop()


def test_the_beat_goes_on_where_nothing_is_due_for_longer_than_a_thread_can_wait() -> None:
    looks: Queue[float] = Queue()

    def look(now: float) -> float:
        looks.put(now)
        return now + 1e12

    ward: Any = SimpleNamespace(look=look)
    beat = Beat(lambda: [ward])
    beat.start()
    for _ in range(3):
        looks.get(timeout=PATIENCE)
        beat.nudge()
    beat.stop()


def _becomes(state: Callable[[], str], wanted: str) -> None:
    until(lambda: state() == wanted, state)
