"""Loads of a host within a budget: who goes for whom, who waits, who is refused, and what is learnt."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sharedmodel.errors import LoadFailed, NotEnoughMemory
from sharedmodel.server.accounts import expected
from sharedmodel.server.machine.estimate import LEAST
from sharedmodel.server.settings import ModelSettings

from .hoards import Hoard, House, left_alone
from .servers import until


@pytest.fixture
def house() -> Iterator[House]:
    with ThreadPoolExecutor(4) as pool, left_alone():
        yield House(pool)


def test_a_load_that_does_not_fit_unloads_the_least_recently_used_model(house: House) -> None:
    for name in ("a", "b", "c"):
        house.add(name, 40)
    house.load("a", "b")
    house.call("a")
    house.ahead += 2
    house.load("c")
    assert house.states() == {"a": "ready", "b": "unloaded", "c": "ready"}
    assert "to make room for c" in house.table.state("b")["why"]
    assert Hoard.held == 80


def test_what_is_kept_stays_though_it_was_used_least(house: House) -> None:
    house.add("a", 40, keep=True)
    house.add("b", 40)
    house.add("c", 40)
    house.load("a", "b", "c")
    assert house.states() == {"a": "ready", "b": "unloaded", "c": "ready"}


def test_a_load_waits_for_the_models_own_old_object_to_leave(house: House) -> None:
    house.add("a", 60)
    house.load("a")
    held, old = house.busy("a"), house.obj("a")
    gone = threading.Thread(target=house.table.unload, args=("a",))
    gone.start()
    until(lambda: house.states()["a"] == "draining", lambda: str(house.states()))
    begun = house.loading("a")
    house.waits(begun)
    old.leave.set()
    assert held.result(20) == 60
    gone.join()
    begun.result(20)
    assert house.states() == {"a": "ready"} and Hoard.held == 60


def test_a_model_that_was_just_called_is_let_alone_for_a_moment(house: House) -> None:
    house.add("a", 60)
    house.add("b", 60)
    house.load("a")
    house.call("a")
    begun = house.loading("b")
    house.waits(begun)
    assert house.states()["a"] == "ready"
    house.ahead += 2
    begun.result(20)
    assert house.states() == {"a": "unloaded", "b": "ready"}


def test_a_load_waits_for_the_end_of_a_call(house: House) -> None:
    house.add("a", 60)
    house.add("b", 60)
    house.load("a")
    held = house.busy("a")
    house.ahead += 2
    begun = house.loading("b")
    house.waits(begun)
    house.obj("a").leave.set()
    assert held.result(20) == 60
    house.ahead += 2
    begun.result(20)
    assert house.states() == {"a": "unloaded", "b": "ready"}


def test_a_load_waits_for_so_long_and_is_then_refused_with_its_numbers(house: House) -> None:
    house.add("a", 60)
    house.add("b", 70)
    house.load("a")
    held = house.busy("a")
    begun = house.loading("b")
    house.waits(begun)
    house.ahead += 31
    with pytest.raises(NotEnoughMemory, match=r"it waited for a, which stayed busy") as raised:
        begun.result(20)
    told = raised.value
    assert (told.needed, told.in_use, told.budget, told.freeable) == (70, 60, 100, 60)
    house.obj("a").leave.set()
    assert held.result(20) == 60


def test_what_can_never_fit_is_refused_at_once_and_unloads_nobody(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.add("a", 40, known=False)
    house.add("b", 120)
    house.load("a")
    for ask in (house.table.load, house.obj):  # the second time without another load: it has failed a moment ago
        with pytest.raises(NotEnoughMemory, match="unloading a would free 40 B, too little") as raised:
            ask("b")
        assert (raised.value.needed, raised.value.in_use, raised.value.budget) == (120, 40, 100)
    assert house.states() == {"a": "ready", "b": "failed"}
    assert house.call("a") == 40
    assert "model 'b' needs 120 B" in house.table.state("b")["reason"]
    assert "Traceback" not in caplog.text and caplog.text.count("model 'b' needs") == 1


def test_what_a_load_takes_is_known_from_then_on(house: House) -> None:
    house.add("a", 30, known=False)
    assert "memory" not in house.table.state("a")
    assert house.table.load("a")["memory"] == 30
    house.add("b", 90, known=False)  # nobody knows, so it is let in
    assert house.table.load("b")["memory"] == 90
    assert Hoard.held == 120
    house.table.unload("b")
    house.ahead += 2
    house.load("b")
    assert house.states() == {"a": "unloaded", "b": "ready"}


def test_what_another_configuration_takes_is_unknown_again(house: House) -> None:
    house.add("a", 120)
    with pytest.raises(NotEnoughMemory):
        house.table.load("a")
    house.table.apply({"a": ModelSettings(factory="tests.hoards:Hoard", args=[50])})
    until(lambda: house.states()["a"] == "ready", lambda: str(house.states()))
    assert house.table.state("a")["memory"] == 50


def test_two_loads_do_not_take_the_same_room(house: House) -> None:
    for name in ("a", "b", "c"):
        house.add(name, 60)
    begun = [house.loading(name) for name in ("a", "b", "c")]
    until(lambda: "ready" in house.states().values(), lambda: str(house.states()))
    while not all(future.done() for future in begun):
        assert Hoard.held <= 60
        house.ahead += 0.5
        time.sleep(0.01)
    assert [future.result(20)["name"] for future in begun] == ["a", "b", "c"]


def test_a_load_that_fails_gives_back_the_room_it_was_let_into(house: House) -> None:
    house.table.add("bad", ModelSettings(factory="tests.hoards:Hoard", args=["text"]))
    with pytest.raises(LoadFailed) as raised:
        house.table.load("bad")
    assert type(raised.value) is LoadFailed
    house.add("a", 100)
    house.load("a")
    assert house.states()["a"] == "ready"


def test_a_replacement_needs_room_beside_the_old_one_which_goes_on_without(house: House) -> None:
    house.add("a", 60)
    house.add("b", 20)
    house.load("a", "b")
    with pytest.raises(NotEnoughMemory):
        house.table.reload("a")
    assert house.states() == {"a": "ready", "b": "ready"} and house.call("a") == 60
    assert "needs 60 B" in house.table.state("a")["last_failure"]
    house.table.reload("b")
    assert house.states()["b"] == "ready" and Hoard.held == 80


def test_two_replacements_that_wait_for_one_another_end(house: House) -> None:
    house.add("a", 45)
    house.add("b", 45)
    house.load("a", "b")
    with ThreadPoolExecutor(2) as pool:
        begun = [pool.submit(house.table.reload, name) for name in ("a", "b")]
        while not all(future.done() for future in begun):
            house.ahead += 0.5
            time.sleep(0.01)
    for future in begun:
        assert isinstance(future.exception(), NotEnoughMemory | None)
    assert "ready" in house.states().values()


def test_an_unloaded_model_is_gone_with_the_objects_that_it_had_before(house: House) -> None:
    house.add("a", 10)
    house.load("a")
    held, old = house.busy("a"), house.obj("a")
    house.table.reload("a")
    with ThreadPoolExecutor(1) as pool:
        unloading = pool.submit(house.table.unload, "a")
        until(lambda: Hoard.held == 10, lambda: str(house.states()))  # the second is gone
        assert house.states() == {"a": "draining"} and not unloading.done()
        old.leave.set()
        assert unloading.result(20)["state"] == "unloaded" and held.result(20) == 10
    assert Hoard.held == 0


def test_in_a_shortage_the_least_recently_used_goes_at_last(house: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sharedmodel.host")
    house.add("a", 40, keep=True)
    house.add("b", 30)
    house.add("c", 40, known=False)  # which nobody knew would be too much
    house.load("a", "b", "c")
    for _ in range(5):
        house.table.arbiter.look()
        until(lambda: not house.table.arbiter._leaving, lambda: str(house.states()))
        house.ahead += 6
    assert house.states() == {"a": "ready", "b": "unloaded", "c": "ready"}
    steps = [line for line in caplog.messages if line.startswith("memory is short: 110 B of 100 B in use")]
    assert [words in line for words, line in zip(("shrunk", "trimmed", "unloaded: b"), steps, strict=True)] == [
        True
    ] * 3
    assert house.table.state("b")["why"].startswith("memory is short")


def test_a_model_that_was_never_loaded_is_expected_to_take_what_its_files_say(tmp_path: Any) -> None:
    file = tmp_path / "net.onnx"
    with open(file, "wb") as stream:
        stream.truncate(LEAST)
    assert expected(ModelSettings(kind="onnx", options={"path": str(file)})) == 2 * LEAST
    assert expected(ModelSettings(kind="cnocr")) == 0
    assert expected(ModelSettings(factory="zoo:Echo", kwargs={"path": str(file)})) == 0
