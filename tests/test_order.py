"""Frames that are unpacked aside, and what comes after them: it may be about them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedmodel import order, wire
from sharedmodel.errors import DeadlineExceeded
from sharedmodel.order import Order
from sharedmodel.service import Service
from sharedmodel.unpacking import Aside

from .crowd import until
from .inside import PATIENCE, call, error_of, in_thread, session_with

LONG = "x" * (2 << 20)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """What is unpacked aside waits for it."""
    unpack, gate = Aside.unpack, threading.Event()

    def patient(aside: Aside, payload: Any) -> list[Any]:
        assert gate.wait(PATIENCE)
        return unpack(aside, payload)

    monkeypatch.setattr(Aside, "unpack", patient)
    yield gate
    gate.set()


def test_a_call_that_is_given_up_while_it_is_unpacked_never_runs(service: Service, gate: threading.Event) -> None:
    with session_with(service) as session:
        with pytest.raises(DeadlineExceeded):
            session.call("probe", "keep", (LONG,), {}, 0.05)
        call(session, "echo", 1)  # behind the cancellation
        gate.set()
        (peer,) = service.peers.values()
        until(lambda: not peer.order._under_way and not peer.calls)
        assert call(session, "keep", 1) == 1  # the first that it has kept


def test_a_result_is_not_given_back_before_what_refers_to_it_is_unpacked(
    service: Service, gate: threading.Event
) -> None:
    with session_with(service) as session:
        beside = in_thread(lambda: call(session, "wait"))
        result = call(session, "filled", 1 << 20)
        with pytest.raises(DeadlineExceeded):
            session.call("probe", "add", (LONG, result), {}, 0.05)
        del result
        call(session, "echo", 1)  # gives the block back
        (peer,) = service.peers.values()
        gate.set()
        until(lambda: not peer.order._under_way)
        call(session, "open")
        assert beside() == "gate" and not peer.order._waiting


def test_what_is_wrong_with_a_frame_that_waited_ends_its_session(service: Service, gate: threading.Event) -> None:
    with session_with(service) as session:
        beside = in_thread(lambda: error_of(lambda: session.call("probe", "wait", (), {})))
        until(lambda: service.objects.get("probe").obj.count("entered"))
        long = in_thread(lambda: error_of(lambda: call(session, "echo", LONG)))
        (peer,) = service.peers.values()
        until(lambda: peer.order._under_way)
        session.sender.send(wire.frame([wire.RELEASE, [99]]))
        until(lambda: peer.order._waiting)
        gate.set()
        assert "went away" in str(beside()) and "went away" in str(long())


STEPS = st.lists(st.sampled_from(["begin", "end first", "end last", "after"]), max_size=60)


@given(STEPS)
def test_each_task_is_done_once_in_order_when_all_before_it_has_ended(steps: list[str]) -> None:
    subject, under_way, done, before = Order(), list[int](), list[int](), list[set[int]]()

    def settle(number: int) -> None:
        for task in subject.end(number):
            task()

    for step in steps:
        if step == "begin":
            under_way.append(subject.begin())
        elif step == "after":
            number = len(before)
            before.append(set(under_way))
            subject.after(lambda number=number: done.append(number))
        elif under_way:
            settle(under_way.pop(0 if step == "end first" else -1))
        due = [number for number, those in enumerate(before) if not those & set(under_way)]
        assert set(done) == set(due) and len(done) == len(due)
    for number in under_way[::-1]:
        settle(number)
    assert sorted(done) == list(range(len(before)))


def test_what_comes_without_end_does_not_wait_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "MOST", 2)
    subject, done = Order(), list[int]()
    number = subject.begin()
    for task in range(4):
        subject.after(lambda task=task: done.append(task))
    assert done == [2, 3]
    for each in subject.end(number):
        each()
    assert done == [2, 3, 0, 1]
