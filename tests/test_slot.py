"""One model's states, by an injected clock: single-flight, failure, the pause, unloading."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from sharedmodel.errors import LoadFailed, RemoteTraceback
from sharedmodel.failure import from_wire, to_wire
from sharedmodel.objects import Served
from sharedmodel.server.slot import ABSENT, FAILED, LOADING, READY, RETRY_AFTER, Slot


class Loader:
    """Loads when it is let; counts; fails while told to."""

    def __init__(self) -> None:
        self.count = 0
        self.failing = False
        self.allowed = threading.Event()
        self.allowed.set()

    def __call__(self) -> Served:
        self.count += 1
        self.allowed.wait()
        if self.failing:
            raise OSError("disk on fire")
        return Served("m", "m", object(), [])


def test_any_number_of_callers_share_one_load() -> None:
    load = Loader()
    load.allowed.clear()
    slot = Slot("m", load)
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(slot.wait) for _ in range(8)]
        slot.start()
        assert slot.state == LOADING
        load.allowed.set()
        assert len({id(future.result()) for future in waiting}) == 1
    assert (load.count, slot.state) == (1, READY)


def test_a_failure_is_told_with_its_reason_and_traceback() -> None:
    load = Loader()
    load.failing = True
    slot = Slot("m", load)
    with pytest.raises(LoadFailed, match="model 'm' could not be loaded: OSError: disk on fire") as raised:
        slot.wait()
    assert isinstance(raised.value.__cause__, RemoteTraceback)
    assert (raised.value.type_name, raised.value.text) == ("builtins.OSError", "disk on fire")
    again = from_wire(to_wire(raised.value))
    assert isinstance(again, LoadFailed) and (str(again), again.text) == (str(raised.value), "disk on fire")
    assert "disk on fire" in slot.describe()["reason"]


def test_a_failed_load_is_tried_again_after_a_pause_and_not_before() -> None:
    load, now = Loader(), [0.0]
    load.failing = True
    slot = Slot("m", load, clock=lambda: now[0])
    for _ in range(3):
        with pytest.raises(LoadFailed):
            slot.wait()
    assert (load.count, slot.state) == (1, FAILED)
    load.failing, now[0] = False, RETRY_AFTER
    slot.wait()
    assert (load.count, slot.state) == (2, READY)
    assert "reason" not in slot.describe()


def test_an_exit_of_the_factory_is_a_failure_like_any_other() -> None:
    def leave() -> Served:
        raise SystemExit(3)

    with pytest.raises(LoadFailed, match="SystemExit: 3"):
        Slot("m", leave).wait()


def test_an_unloaded_model_comes_back_with_the_next_call() -> None:
    load = Loader()
    slot = Slot("m", load)
    first = slot.wait()
    assert slot.unload() is first.obj
    assert slot.state == ABSENT
    assert slot.wait() is not first


def test_each_change_of_state_is_told() -> None:
    heard: list[str] = []
    slot = Slot("m", Loader(), changed=lambda: heard.append(slot.state))
    slot.wait()
    slot.unload()
    for thread in threading.enumerate():
        if thread.name == "load-m":
            thread.join()
    assert {READY, ABSENT} <= set(heard)
