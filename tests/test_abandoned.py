"""Loads that hang: nothing waits for them, and what comes of one at last is closed and serves nobody."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from sharedmodel.client import connect
from sharedmodel.server import slot as slots
from sharedmodel.server.lease import Leased
from sharedmodel.server.lifecycle import LOADING, READY, UNLOADED
from sharedmodel.server.progress import Progress, hearer
from sharedmodel.server.settings import ModelSettings
from sharedmodel.server.slot import Slot, Work

from .hoards import Hoard, House, left_alone
from .servers import command, running_server, until

PATIENCE = 20.0


class Made:
    """An object that tells that it was closed."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.closed = threading.Event()

    def which(self) -> int:
        return self.number

    def close(self) -> None:
        self.closed.set()


class Loads:
    """Each load of a slot goes on when it is let."""

    def __init__(self) -> None:
        self.gates: list[threading.Event] = []
        self.made: list[Made] = []
        self.error: Exception | None = None
        self.slot = Slot("m", Work(self._make))

    def _make(self) -> Leased:
        gate = threading.Event()
        self.gates.append(gate)
        number, hear = len(self.gates), hearer()
        hear(Progress(f"reading {number}", 1, 2))
        assert gate.wait(PATIENCE)
        hear(None)
        if self.error is not None:
            raise self.error
        self.made.append(Made(number))
        return Leased("m", "m", self.made[-1], ["which"])

    def began(self, number: int) -> None:
        until(lambda: len(self.gates) == number, lambda: f"{len(self.gates)} loads have begun")

    def end(self, number: int) -> None:
        self.gates[number - 1].set()

    def over(self) -> None:
        until(lambda: "abandoned" not in self.slot.describe(), lambda: str(self.slot.describe()))


@pytest.fixture
def loads() -> Iterator[Loads]:
    yield (found := Loads())
    for gate in found.gates:
        gate.set()
    until(lambda: not [t for t in threading.enumerate() if t.name == "load-m"], lambda: "a load goes on")


def test_an_unload_abandons_the_load_that_is_under_way_and_what_comes_of_it_is_closed(
    loads: Loads, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sharedmodel.host")
    loads.slot.start()
    loads.began(1)
    loads.slot.unload("made room")
    assert loads.slot.state == UNLOADED and loads.slot.describe()["abandoned"] == 1
    assert "(made room); it keeps its thread and its memory until it is over" in caplog.text
    loads.end(1)
    loads.over()
    assert loads.made[0].closed.is_set() and loads.slot.served is None and loads.slot.state == UNLOADED
    assert "the load that was abandoned is over" in caplog.text


def test_who_waited_for_a_load_that_is_abandoned_is_served_by_the_next_one(loads: Loads) -> None:
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(loads.slot.wait)
        loads.began(1)
        loads.slot.unload()
        loads.began(2)
        loads.end(1)
        loads.over()
        assert not waiting.done() and loads.slot.describe()["progress"]["text"].startswith("reading 2")
        loads.end(2)
        assert waiting.result(PATIENCE).obj.which() == 2
    assert loads.made[0].closed.is_set() and not loads.made[1].closed.is_set()


def test_a_reload_does_not_wait_for_a_load_that_takes_too_long(loads: Loads, monkeypatch: pytest.MonkeyPatch) -> None:
    loads.slot.start()
    loads.began(1)
    monkeypatch.setattr(slots, "HUNG", 0.05)
    with ThreadPoolExecutor() as pool:
        reloading = pool.submit(loads.slot.reload)
        loads.began(2)
        loads.end(2)
        reloading.result(PATIENCE)
    assert loads.slot.wait().obj.which() == 2
    loads.end(1)
    loads.over()
    assert loads.slot.wait().obj.which() == 2 and loads.made[1].closed.is_set()


def test_whose_reload_is_overtaken_by_another_waits_for_that_one(loads: Loads) -> None:
    with ThreadPoolExecutor() as pool:
        first = pool.submit(loads.slot.reload, at_once=True)
        loads.began(1)
        second = pool.submit(loads.slot.reload, at_once=True)
        loads.began(2)
        loads.end(1)
        loads.over()
        assert not first.done() and loads.slot.state == LOADING
        loads.end(2)
        first.result(PATIENCE)
        second.result(PATIENCE)
    assert loads.slot.wait().obj.which() == 2


def test_a_reload_ends_when_the_model_is_unloaded_meanwhile_and_the_old_object_goes(loads: Loads) -> None:
    loads.slot.start()
    loads.began(1)
    loads.end(1)
    old = loads.slot.wait().obj
    with ThreadPoolExecutor() as pool:
        reloading = pool.submit(loads.slot.reload)
        loads.began(2)
        loads.slot.unload()
        reloading.result(PATIENCE)
    assert old.closed.is_set() and loads.slot.state == UNLOADED


def test_that_an_abandoned_load_fails_is_logged_and_changes_nothing(
    loads: Loads, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sharedmodel.host")
    loads.error = OSError("disk on fire")
    loads.slot.start()
    loads.began(1)
    loads.slot.unload()
    loads.end(1)
    loads.over()
    assert "abandoned has failed: disk on fire" in caplog.text
    assert loads.slot.state == UNLOADED and "last_failure" not in loads.slot.describe()


@pytest.fixture
def house() -> Iterator[House]:
    with ThreadPoolExecutor(4) as pool, left_alone():
        yield House(pool)


def test_what_an_abandoned_load_will_take_counts_for_other_models_until_it_is_over(house: House) -> None:
    house.add("a", 60)
    house.add("b", 60)
    coming = house.table.arbiter._accounts.coming
    Hoard.gate.clear()
    house.table._wards["a"].slot.start()
    until(lambda: len(coming()) == 1, lambda: "it is not let in")
    house.table.unload("a")
    other = house.loading("b")
    house.waits(other)
    again = house.loading("a")  # which would else be wedged for as long as the first one hangs
    until(lambda: [model.name for model in coming()] == ["a", "a"], lambda: str(coming()))
    Hoard.gate.set()
    assert again.result(PATIENCE)["state"] == READY
    until(lambda: Hoard.held == 60, lambda: f"{Hoard.held} are held")
    house.ahead += 2  # the one that serves may make room now
    assert other.result(PATIENCE)["state"] == READY
    assert house.table.taken() == {"b": 60} and not coming()


def test_a_model_that_is_changed_while_its_load_hangs_is_loaded_by_the_new_settings_at_once(house: House) -> None:
    house.add("a", 10, known=False)
    Hoard.gate.clear()
    hung = house.loading("a")
    until(lambda: len(house.table.arbiter._accounts.coming()) == 1, lambda: "it is not let in")
    house.table.apply({"a": ModelSettings(factory="tests.test_abandoned:small")})
    assert hung.result(PATIENCE)["state"] == READY and house.call("a", "which") == 7
    Hoard.gate.set()
    until(lambda: "abandoned" not in house.table.state("a"), lambda: str(house.table.state("a")))
    assert house.call("a", "which") == 7 and Hoard.held == 0


def small() -> Made:
    return Made(7)


def test_a_corrected_configuration_helps_a_model_whose_load_hangs(runtime: str) -> None:
    pipe = f"{runtime}/pipe"
    os.mkfifo(pipe)
    hangs = f'[models.m]\nfactory = "zoo:waiting"\nargs = ["{pipe}"]\n'
    with running_server(hangs, runtime, ready=False) as server, connect(server.address) as host:
        with open(pipe, "w"), ThreadPoolExecutor() as pool:  # opens when the load has opened the other end
            before = pool.submit(lambda: host.model("m").add(1))
            assert command("unload", "m").startswith("m: ")
            server.rewrite('[models.m]\nfactory = "zoo:Echo"\nkwargs = {plus = 5}\n')
            assert before.result(PATIENCE) == 6
            assert host.reload("m")["state"] == READY
        until(lambda: "abandoned" not in host.models()["m"], lambda: str(host.models()))
        assert host.model("m").add(1) == 6
