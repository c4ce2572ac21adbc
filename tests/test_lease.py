"""Calls on an object that may be let go of: they are counted, and none is lost or comes too late."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sharedmodel.errors import NotExposed
from sharedmodel.server.lease import Leased, Retired


class Model:
    def __init__(self, name: str = "first") -> None:
        self.name = name
        self.inside = threading.Event()
        self.leave = threading.Event()

    def who(self) -> str:
        return self.name

    def wait(self) -> str:
        self.inside.set()
        assert self.leave.wait(20)
        return self.name

    def fail(self) -> None:
        raise ValueError("as asked")

    def count(self, to: int) -> Iterator[int]:
        yield from range(to)

    def hidden(self) -> None:
        raise AssertionError

    def __str__(self) -> str:
        return f"model {self.name}"


EXPOSED = ("who", "wait", "fail", "count", "late")


def leased(name: str = "first") -> Leased:
    model: Any = Model(name)
    model.late = lambda: "old"
    return Leased("m", "m", model, EXPOSED)


def pair() -> tuple[Leased, Leased]:
    old, new = leased(), leased("second")
    old.successor = lambda: new
    return old, new


def test_only_what_is_exposed_can_be_called() -> None:
    with pytest.raises(NotExposed, match="exposed are: count"):
        leased().method("hidden")
    assert leased().method("__str__")() == "model first"


def test_a_method_that_the_object_has_exchanged_is_the_one_that_is_called() -> None:
    lease = leased()
    lease.obj.late = lambda: "new"
    assert lease.method("late")() == "new"


def test_a_call_is_inside_until_it_returns_or_raises() -> None:
    lease = leased()
    with ThreadPoolExecutor() as pool:
        running = pool.submit(lease.method("wait"))
        assert lease.obj.inside.wait(20)
        assert lease.inside == 1
        lease.retire()
        assert not lease.wait_until_empty(0)
        lease.obj.leave.set()
        assert running.result() == "first" and lease.wait_until_empty(20)
    with pytest.raises(ValueError, match="as asked"):
        leased().method("fail")()
    assert lease.inside == 0


def test_a_stream_is_inside_until_it_has_ended() -> None:
    lease = leased()
    stream = lease.method("count")(2)
    lease.retire()
    assert list(stream) == [0, 1]
    assert lease.wait_until_empty(0)


def test_a_stream_that_nobody_reads_is_inside_no_longer_than_it_lives() -> None:
    for end in (lambda stream: stream.close(), lambda stream: None):
        lease = leased()
        stream = lease.method("count")(2)
        assert lease.inside == 1
        end(stream)
        del stream
        assert lease.inside == 0


def test_after_its_end_calls_go_to_its_successor() -> None:
    old, new = pair()
    method = old.method("who")
    old.retire()
    assert method() == "second" and old.method("who")() == "second"
    old.forget()
    assert old.method("who")() == "second" and old.method("__str__")() == "model second"
    assert (old.inside, new.inside) == (0, 0)


def test_without_a_successor_the_end_is_told() -> None:
    lease = leased()
    lease.retire()
    with pytest.raises(Retired), lease.held():
        raise AssertionError
    with pytest.raises(Retired):
        lease.method("who")()


def test_what_entered_in_time_calls_this_object_to_its_end() -> None:
    old, _ = pair()
    assert old.enter()
    old.retire()
    assert old.method("who")() == "first" and not old.wait_until_empty(0)
    old.leave()
    assert old.wait_until_empty(0) and not old.enter() and old.method("who")() == "second"


def test_to_hold_it_is_no_use_of_it() -> None:
    lease = leased()
    with lease.held() as obj:
        assert lease.inside == 1 and obj.name == "first"
    assert not lease.used and lease.inside == 0
    lease.method("who")()
    assert lease.used


def test_nothing_of_a_forgotten_object_is_left_and_no_collector_is_needed() -> None:
    gc.disable()
    try:
        lease = leased()
        lease.obj.late = None  # no cycle of its own making
        gone = weakref.ref(lease.obj)
        lease.method("who")()
        with pytest.raises(ValueError):
            lease.method("fail")()
        lease.retire()
        assert lease.wait_until_empty(0)
        lease.forget()
        assert gone() is None and lease.forget() is None
    finally:
        gc.enable()


def test_swapping_under_load_loses_no_call_and_calls_nothing_that_is_closed() -> None:
    current = [leased()]
    over = threading.Event()

    def calls() -> int:
        done = 0
        while not over.is_set():
            assert current[0].method("who")() in ("first", "next")
            done += 1
        return done

    with ThreadPoolExecutor(4) as pool:
        callers = [pool.submit(calls) for _ in range(4)]
        for _ in range(300):
            old, new = current[0], leased("next")
            old.successor = lambda new=new: new
            current[0] = new
            old.retire()
            assert old.wait_until_empty(20)
            old.forget().name = "closed"
        over.set()
        assert all(caller.result() for caller in callers)
