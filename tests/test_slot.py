"""One model's states, by an injected clock: single-flight, failure, the pause, reloading, unloading."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from sharedmodel import reply
from sharedmodel.errors import Cancelled, DeadlineExceeded, LoadFailed, RemoteTraceback
from sharedmodel.failure import from_wire, to_wire
from sharedmodel.server.lease import Leased
from sharedmodel.server.lifecycle import (
    ABSENT,
    DRAINING,
    FAILED,
    LOADING,
    READY,
    RETRY_AFTER,
    UNLOADED,
    WARMING,
)
from sharedmodel.server.progress import Progress
from sharedmodel.server.slot import NotYet, Slot, Work

from .servers import until

PATIENCE = 100.0


class Model:
    """Waits inside until it is let out; tells that it was closed."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.closed = threading.Event()
        self.entered = threading.Event()
        self.leave = threading.Event()

    def which(self) -> int:
        assert not self.closed.is_set()
        return self.number

    def wait(self) -> int:
        self.entered.set()
        assert self.leave.wait(PATIENCE) and not self.closed.is_set()
        return self.number

    def close(self) -> None:
        self.closed.set()


class Loader:
    """Loads when it is let; counts; fails while told to."""

    def __init__(self) -> None:
        self.count = 0
        self.failing = False
        self.unfit = False
        self.allowed = threading.Event()
        self.allowed.set()
        self.shown: Leased | None = None

    def make(self) -> Leased:
        self.count += 1
        number = self.count
        assert self.allowed.wait(PATIENCE)
        if self.failing:
            raise OSError("disk on fire")
        return Leased("m", "m", Model(number), ["which", "wait"])

    def warm(self, leased: Leased) -> str:
        if self.unfit:
            raise ValueError("it can't count")
        return ""

    def show(self, leased: Leased) -> None:
        self.shown = leased

    def hide(self) -> None:
        self.shown = None

    def work(self) -> Work:
        return Work(self.make, self.warm, self.show, self.hide)


def slot_of(load: Loader, **options: Any) -> Slot:
    return Slot("m", load.work(), **options)


def call(slot: Slot, method: str = "which") -> Any:
    return slot.wait().method(method)()


def idle(slot: Slot) -> bool:
    return not slot.busy and not [t for t in threading.enumerate() if t.name == "load-m"]


def settle(slot: Slot) -> None:
    until(lambda: idle(slot), lambda: slot.state)


def waiting(slot: Slot) -> int:
    """Threads that wait for its state to change."""
    return len(slot._condition._waiters)  # type: ignore[attr-defined]


def test_any_number_of_callers_share_one_load() -> None:
    load = Loader()
    load.allowed.clear()
    slot = slot_of(load)
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(slot.wait) for _ in range(8)]
        slot.start()
        assert slot.state == LOADING
        load.allowed.set()
        assert len({id(future.result()) for future in waiting}) == 1
    assert (load.count, slot.state) == (1, READY)
    settle(slot)


def test_a_failure_is_told_with_its_reason_and_traceback() -> None:
    load = Loader()
    load.failing = True
    slot = slot_of(load)
    with pytest.raises(LoadFailed, match="model 'm' could not be loaded: OSError: disk on fire") as raised:
        slot.wait()
    assert isinstance(raised.value.__cause__, RemoteTraceback)
    assert (raised.value.type_name, raised.value.text) == ("builtins.OSError", "disk on fire")
    again = from_wire(to_wire(raised.value))
    assert isinstance(again, LoadFailed) and (str(again), again.text) == (str(raised.value), "disk on fire")
    assert "disk on fire" in slot.describe()["reason"]
    settle(slot)


def test_a_failed_load_is_tried_again_after_a_pause_and_not_before() -> None:
    load, now = Loader(), [0.0]
    load.failing = True
    slot = slot_of(load, clock=lambda: now[0])
    for _ in range(3):
        with pytest.raises(LoadFailed):
            slot.wait()
    assert (load.count, slot.state) == (1, FAILED)
    load.failing, now[0] = False, RETRY_AFTER
    slot.wait()
    assert (load.count, slot.state) == (2, READY)
    assert "reason" not in slot.describe()
    settle(slot)


def test_an_exit_of_the_factory_is_a_failure_like_any_other() -> None:
    def leave() -> Leased:
        raise SystemExit(3)

    slot = Slot("m", Work(leave))
    with pytest.raises(LoadFailed, match="SystemExit: 3"):
        slot.wait()
    settle(slot)


def test_a_model_that_is_not_fit_is_not_ready_but_failed_and_is_closed() -> None:
    load = Loader()
    load.unfit = True
    made: list[Model] = []
    slot = Slot("m", Work(lambda: _noted(load.make(), made), load.warm, load.show, load.hide))
    with pytest.raises(LoadFailed, match="it can't count"):
        slot.wait()
    assert slot.state == FAILED and load.shown is None
    assert made[0].closed.wait(PATIENCE)
    settle(slot)


def _noted(leased: Leased, made: list[Model]) -> Leased:
    made.append(leased.obj)
    return leased


def test_an_unloaded_model_is_closed_and_comes_back_with_the_next_call() -> None:
    load = Loader()
    slot = slot_of(load)
    first = slot.wait().obj
    slot.unload()
    assert first.closed.is_set()
    assert slot.state == UNLOADED and load.shown is None
    assert slot.wait().obj is not first
    settle(slot)


def test_unloading_what_is_not_loaded_changes_nothing() -> None:
    slot = slot_of(Loader())
    slot.unload()
    assert slot.state == ABSENT
    slot.wait()
    slot.unload()
    slot.unload()
    assert slot.state == UNLOADED
    settle(slot)


def test_calls_that_run_finish_before_an_unloaded_model_is_closed_and_later_ones_load_another() -> None:
    load = Loader()
    slot = slot_of(load)
    with ThreadPoolExecutor() as pool:
        first = slot.wait().obj
        running = pool.submit(call, slot, "wait")
        assert first.entered.wait(PATIENCE)
        unloading = pool.submit(slot.unload)
        until(lambda: slot.state == DRAINING, lambda: slot.state)
        assert call(slot) == 2  # a long call of the old one keeps nobody waiting
        assert not first.closed.is_set() and slot.describe()["leaving"] == 1
        first.leave.set()
        assert running.result() == 1
        unloading.result()
    assert first.closed.is_set() and slot.state == READY and "leaving" not in slot.describe()
    settle(slot)


def test_who_unloads_a_model_in_which_calls_run_on_is_told_so_when_his_time_is_over() -> None:
    slot = slot_of(Loader())
    with ThreadPoolExecutor() as pool:
        first = slot.wait().obj
        running = pool.submit(call, slot, "wait")
        assert first.entered.wait(PATIENCE)
        unloading = pool.submit(slot.unload)
        until(lambda: slot.state == DRAINING, lambda: slot.state)
        with called(time.monotonic() + 0.1), pytest.raises(DeadlineExceeded, match="calls run in it still"):
            slot.unload()
        first.leave.set()
        running.result()
        unloading.result()
    settle(slot)


def test_who_is_late_with_an_object_that_was_let_go_of_is_served_by_the_next_one() -> None:
    slot = slot_of(Loader())
    late = slot.wait()
    method = late.method("which")
    slot.unload()
    assert (method(), late.method("which")()) == (2, 2)
    settle(slot)


def test_a_reload_takes_the_old_ones_place_and_lets_its_calls_finish() -> None:
    load = Loader()
    slot = slot_of(load)
    first = slot.wait().obj
    with ThreadPoolExecutor() as pool:
        running = pool.submit(call, slot, "wait")
        assert first.entered.wait(PATIENCE)
        load.allowed.clear()
        reloading = pool.submit(slot.reload)
        until(lambda: load.count == 2, lambda: str(load.count))
        assert call(slot) == 1 and slot.describe()["replacement"] == LOADING
        load.allowed.set()
        reloading.result()
        assert call(slot) == 2 and not first.closed.is_set()
        first.leave.set()
        assert running.result() == 1
    assert first.closed.wait(PATIENCE)
    settle(slot)


@pytest.mark.parametrize("fault", ["failing", "unfit"])
def test_a_reload_that_fails_leaves_the_old_one_in_place_and_says_why(fault: str) -> None:
    load = Loader()
    slot = slot_of(load)
    slot.wait()
    setattr(load, fault, True)
    with pytest.raises(LoadFailed, match=r"disk on fire|can't count"):
        slot.reload()
    assert slot.state == READY and call(slot) == 1
    assert "could not be loaded" in slot.describe()["last_failure"]
    setattr(load, fault, False)
    slot.reload()
    assert call(slot) == 3 and "last_failure" not in slot.describe()
    settle(slot)


def test_those_who_ask_for_a_reload_at_the_same_time_share_one() -> None:
    load = Loader()
    slot = slot_of(load)
    slot.wait()
    load.allowed.clear()
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(slot.reload)
        until(lambda: load.count == 2, lambda: str(load.count))
        # They ask after it began: what it read may be old. So one more is owed to them, and no more than one.
        later = [pool.submit(slot.reload) for _ in range(8)]
        until(lambda: waiting(slot) == 9, lambda: str(waiting(slot)))
        load.allowed.set()
        for reload in (first, *later):
            reload.result()
    assert load.count == 3 and call(slot) == 3
    settle(slot)


def test_a_sick_object_leaves_and_another_is_loaded() -> None:
    load = Loader()
    slot = slot_of(load)
    first = slot.wait()
    slot.sick(first, "it sings no more")
    assert call(slot) == 2
    slot.sick(first, "told too late, of one that is gone")
    assert call(slot) == 2
    assert any("sings no more" in change["why"] for change in slot.describe()["history"])
    settle(slot)


def test_each_change_is_logged_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    slot = slot_of(Loader())
    with caplog.at_level(logging.INFO, "sharedmodel.host"):
        slot.wait()
        slot.unload("made room")
        settle(slot)
    told = [record.getMessage() for record in caplog.records]
    assert "model m is loading: called" in told and "model m is draining: made room" in told
    assert any(line.startswith("model m is ready: loaded in") for line in told)


def test_each_change_of_state_is_told() -> None:
    heard: list[str] = []
    slot = slot_of(Loader(), changed=lambda: heard.append(slot.state))
    slot.wait()
    slot.unload()
    settle(slot)
    assert {READY, UNLOADED} <= set(heard)
    assert [c["state"] for c in slot.describe()["history"]] == [ABSENT, LOADING, WARMING, READY, DRAINING, UNLOADED]


def test_no_call_is_lost_whatever_is_done_to_the_model_meanwhile() -> None:
    load = Loader()
    slot = slot_of(load)
    over = threading.Event()

    def calls() -> int:
        done = 0
        while not over.is_set():
            assert call(slot) >= 1  # a closed object would raise
            done += 1
        return done

    def repeat(action: Callable[[], Any]) -> None:
        for _ in range(25):
            action()

    with ThreadPoolExecutor(8) as pool:
        callers = [pool.submit(calls) for _ in range(4)]
        actions = [slot.reload, slot.unload, lambda: slot.sick(slot.wait(), "as asked"), slot.reload]
        for action in [pool.submit(repeat, action) for action in actions]:
            action.result()
        over.set()
        assert all(caller.result() > 0 for caller in callers)
    settle(slot)


def test_that_it_loads_is_told_before_the_load_can_end_the_process() -> None:
    load = Loader()
    told: list[tuple[str, int]] = []
    slot = slot_of(load, changed=lambda: told.append((slot.state, load.count)))
    slot.start()
    slot.wait()
    settle(slot)
    assert told[0] == (LOADING, 0)


def test_who_waits_is_told_how_far_it_is_when_the_patience_ends_or_the_deadline_comes() -> None:
    load = Loader()
    load.allowed.clear()
    heard: list[Any] = []
    slot = slot_of(load, changed=lambda: heard.append(slot.describe().get("progress")))
    with pytest.raises(NotYet, match=r"model 'm' is not ready yet: it is loading$"):
        slot.wait(patience=0.01)
    slot.hear(Progress("downloading org/m", 143_000_000, 471_000_000))
    words = re.escape("it is loading; downloading org/m: 143 of 471 MB (30 %)")
    with pytest.raises(NotYet, match=words):
        slot.wait(patience=0.01)
    begun = time.monotonic()
    with called(begun + 0.5), pytest.raises(DeadlineExceeded, match=words):
        slot.wait(patience=10.0)
    assert time.monotonic() - begun >= 0.4
    with called(begun + PATIENCE), pytest.raises(NotYet):
        slot.wait(patience=0.01)
    load.allowed.set()
    assert call(slot) == 1
    settle(slot)
    assert "progress" not in slot.describe()
    assert {"text": "downloading org/m: 143 of 471 MB (30 %)", "done": 143_000_000} in [
        {key: each[key] for key in ("text", "done")} for each in heard if each
    ]


def test_who_would_reload_a_model_that_loads_waits_no_longer_than_his_caller() -> None:
    load = Loader()
    load.allowed.clear()
    slot = slot_of(load)
    slot.start()
    with called(time.monotonic() + 0.1), pytest.raises(DeadlineExceeded, match="'m' is not ready yet: it is loading"):
        slot.reload()
    with called(time.monotonic() + PATIENCE, cancelled=True):
        asking = threading.Timer(0.0, load.allowed.set)
        asking.start()
        with pytest.raises(Cancelled, match="gave up"):
            slot.reload()
    asking.join()
    settle(slot)
    assert slot.state == READY and load.count == 1


@contextmanager
def called(deadline: float, *, cancelled: bool = False) -> Iterator[None]:
    """As within a call that its caller gives up at a time of the monotonic clock, or has given up."""
    given: Any = SimpleNamespace(taken=time.monotonic(), deadline=deadline, cancelled=cancelled)
    reply.current.call = given
    yield
    reply.current.call = None
