"""Which object of two a call is given: the one with all threads, or the one of a thread for each call."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest

from sharedmodel.server.models.widths import Widths


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Engine:
    def __init__(self, threads: int) -> None:
        self.threads = threads

    def __len__(self) -> int:
        return 0  # as of an object that is false


def test_calls_share_the_wide_one_until_there_are_as_many_as_make_a_crowd() -> None:
    widths = Widths(Engine, 4, crowd=3)
    assert [widths.enter().threads for _ in range(4)] == [4, 4, 1, 1]
    for _ in range(3):
        widths.leave()
    assert widths.enter().threads == 4  # two again
    assert [engine.threads for engine in widths.made()] == [4, 1]


def test_a_crowd_may_be_one_still_between_two_calls_of_its_callers() -> None:
    clock = Clock()
    widths = Widths(Engine, 2, lasting=0.02, clock=clock)

    def call() -> int:
        threads = widths.enter().threads
        widths.leave()
        return threads

    assert [widths.enter().threads for _ in range(2)] == [2, 1]
    widths.leave()
    widths.leave()
    assert call() == 1  # for a moment it is the only one
    clock.now += 0.019
    assert call() == 1
    clock.now += 0.002
    assert call() == 2  # those that were alone since have not made it last


def test_without_a_crowd_no_call_asks_for_the_time() -> None:
    def clock() -> float:
        raise AssertionError("asked for")

    widths = Widths(Engine, 2, crowd=None, lasting=0.02, clock=clock)
    for _ in range(3):
        widths.enter()
    for _ in range(3):
        widths.leave()


def test_without_a_crowd_there_is_never_a_second_one() -> None:
    widths = Widths(Engine, 2, crowd=None)
    assert {widths.enter() for _ in range(9)} == {widths.wide} == set(widths.made())


def test_the_narrow_one_is_made_once_however_many_want_it_at_once() -> None:
    made: list[int] = []
    gate = threading.Event()

    def make(threads: int) -> Engine:
        made.append(threads)
        if threads == 1:
            assert gate.wait(30)
        return Engine(threads)

    widths = Widths(make, 2)
    widths.enter()
    found: list[Engine] = []
    threads = [threading.Thread(target=lambda: found.append(widths.enter())) for _ in range(5)]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join()
    assert made == [2, 1] and len(set(found)) == 1


def test_who_is_to_run_as_if_alone_has_the_wide_one_and_counts_all_the_same() -> None:
    widths = Widths(Engine, 2)
    assert [widths.enter(alone=alone).threads for alone in (True, True, False)] == [2, 2, 1]


def test_it_can_be_prepared_and_says_why_it_can_not() -> None:
    def make(threads: int) -> Engine:
        if threads == 1:
            raise MemoryError("none left")
        return Engine(threads)

    widths = Widths(Engine, 2)
    widths.prepare()
    assert [engine.threads for engine in widths.made()] == [2, 1]
    with pytest.raises(MemoryError, match="none left"):
        Widths(make, 2).prepare()
    Widths(make, 2, crowd=None).prepare()  # there is to be none


def test_what_it_is_made_from_is_not_kept_once_it_is_prepared() -> None:
    class Maker:
        def __call__(self, threads: int) -> Engine:
            return Engine(threads)

    for crowd in (2, None):
        maker = Maker()
        gone = weakref.ref(maker)
        widths = Widths(maker, 2, crowd)
        widths.prepare()
        del maker
        gc.collect()
        assert gone() is None
        assert [widths.enter().threads for _ in range(2)] == ([2, 1] if crowd else [2, 2])


def test_a_call_that_found_it_closed_has_not_entered() -> None:
    widths = Widths(Engine, 2)
    widths.enter()
    widths.close()
    for _ in range(3):
        with pytest.raises(RuntimeError, match="this model is closed"):
            widths.enter()
    with pytest.raises(RuntimeError, match="this model is closed"):
        assert widths.wide
    widths.leave()
    with pytest.raises(IndexError):  # nobody is left
        widths.leave()


def test_what_is_closed_goes_when_the_last_call_leaves() -> None:
    widths = Widths(Engine, 2)
    engine = widths.enter()
    gone = weakref.ref(engine)
    widths.close()
    assert gone() is engine
    widths.leave()
    del engine
    gc.collect()
    assert gone() is None
