"""Deadlines and cancelling; and that nobody waits for somebody else's slow call."""

from __future__ import annotations

import contextlib
import queue
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from sharedmodel import reply
from sharedmodel.errors import DeadlineExceeded, HostLost
from sharedmodel.manager import ModelManager
from sharedmodel.session import Session
from sharedmodel.sessions import SESSIONS

from . import doomed
from .crowd import Crowd, session, until


class Slow:
    """Waits, and notes what it is told meanwhile."""

    def __init__(self) -> None:
        self._gate = threading.Event()
        self._noted: list[str] = []

    def quick(self, number: int = 0) -> int:
        return number

    def wait_for_news(self) -> None:
        """Until the caller gives up: told of it, not asking."""
        told = threading.Event()
        with reply.on_cancel(told.set):
            self._noted.append(f"before: {reply.cancelled()}")
            told.wait()
            self._noted.append(f"after: {reply.cancelled()}")

    def ask_for_news(self) -> None:
        """Until the caller has given up: asking, not told."""
        self._noted.append(f"before: {reply.cancelled()}")
        while not reply.cancelled():
            self._gate.wait(0.001)
        self._noted.append("after: True")

    def listen_and_leave(self) -> None:
        """What it asked to be told within the block is not told after it."""
        with reply.on_cancel(lambda: self._noted.append("told late")):
            self._noted.append("left")
        self._gate.wait()
        with reply.on_cancel(lambda: self._noted.append("told at once")):
            self._noted.append("end")

    def hold(self) -> str:
        self._noted.append("held")
        self._gate.wait()
        return "let go"

    def open(self) -> None:
        self._gate.set()

    def noted(self) -> list[str]:
        return self._noted


class Manager(ModelManager):
    pass


for kind in (Slow, queue.Queue):
    Manager.register(kind.__name__, kind)


@contextlib.contextmanager
def serving() -> Iterator[tuple[Slow, Session]]:
    with Manager() as manager:
        yield manager.Slow(), SESSIONS.current(str(manager.address))  # type: ignore[attr-defined]


# -- deadlines and cancelling -----------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["wait_for_news", "ask_for_news"])
def test_a_method_learns_that_its_callers_deadline_has_passed(method: str) -> None:
    with serving() as (slow, own):
        start = time.monotonic()
        with pytest.raises(DeadlineExceeded, match="deadline"):
            own.call(slow._id, method, (), {}, 0.1)
        assert 0.1 <= time.monotonic() - start < 5
        until(lambda: slow.noted() == ["before: False", "after: True"])
        until(lambda: slow.quick(3) == 3 and not own.channel.pending)


@pytest.mark.parametrize("method", ["wait_for_news", "ask_for_news"])
def test_a_method_learns_that_its_callers_session_is_closed(method: str) -> None:
    with serving() as (slow, own), ThreadPoolExecutor() as pool:
        with session(own.address) as other:
            call = pool.submit(other.call, slow._id, method, (), {})
            until(lambda: slow.noted() == ["before: False"])
        with pytest.raises(HostLost, match="was closed"):
            call.result(10)
        until(lambda: slow.noted() == ["before: False", "after: True"])


def test_news_of_the_end_is_told_within_the_block_alone_and_at_once_if_it_is_old() -> None:
    with serving() as (slow, own):
        with pytest.raises(DeadlineExceeded):
            own.call(slow._id, "listen_and_leave", (), {}, 0.1)
        assert slow.noted() == ["left"]
        slow.open()
        until(lambda: slow.noted() == ["left", "told at once", "end"], slow.noted)


def test_a_call_that_ends_in_time_is_not_cancelled() -> None:
    with serving() as (slow, own):
        assert [own.call(slow._id, "quick", (n,), {}, 10) for n in range(300)] == list(range(300))
        slow.open()
        assert own.call(slow._id, "listen_and_leave", (), {}, 10) is None
        assert slow.noted() == ["left", "end"]


def test_a_call_whose_deadline_passed_before_the_host_saw_it_does_not_run(crowd: Crowd) -> None:
    host = crowd.host()
    with session(host.address) as own:
        own.call("probe", "echo", (), {})
        host.stop()
        for _ in range(5):
            with pytest.raises(DeadlineExceeded):
                own.call("probe", "note", ("ran",), {}, 0.02)
        host.go_on()
        assert own.call("probe", "count", ("ran",), {}) == 0
        assert own.call("probe", "echo", (4,), {}) == 4


def test_a_hundred_calls_given_up_at_once_leave_nothing_behind(crowd: Crowd) -> None:
    host = crowd.host()
    with session(host.address) as own, session(host.address) as other:
        rids = [doomed.begin(own, "wait", f"gate {number}") for number in range(100)]
        until(lambda: other.call("probe", "count", ("entered",), {}) == 100)
        for rid in rids:
            own.cancel(own.channel.pending[rid])
        until(lambda: other.call("probe", "count", ("left",), {}) == 100)
        assert other.call("probe", "count", ("cancelled",), {}) == 100

        def all_answered() -> bool:
            own.call("probe", "echo", (), {})  # takes in what has come; the last answers come after the methods' ends
            return not own.channel.pending

        until(all_answered)


# -- who waits for whom -----------------------------------------------------------------------------------


def test_a_slow_method_holds_up_neither_other_threads_of_the_session_nor_other_sessions() -> None:
    with serving() as (slow, own), session(own.address) as other, ThreadPoolExecutor(10) as pool:
        held = [pool.submit(slow.hold) for _ in range(5)]
        until(lambda: slow.noted() == ["held"] * 5)
        beside = [pool.submit(lambda: [slow.quick(n) for n in range(200)]) for _ in range(5)]
        assert [call.result(20) for call in beside] == [list(range(200))] * 5
        assert [other.call(slow._id, "quick", (n,), {}, 5) for n in range(200)] == list(range(200))
        assert not any(call.done() for call in held)
        slow.open()
        assert [call.result(20) for call in held] == ["let go"] * 5


@pytest.mark.alone  # it measures tenths of a second
def test_a_method_that_was_quick_a_thousand_times_and_then_blocks_does_not_stop_the_host() -> None:
    with Manager() as manager, ThreadPoolExecutor() as pool:
        shared, slow = manager.Queue(), manager.Slow()  # type: ignore[attr-defined]
        with session(str(manager.address)) as other:
            for number in range(1000):
                shared.put(number)
                assert shared.get() == number
            took = []
            for number in range(15):
                for _ in range(50):  # quick again
                    shared.put(0)
                    shared.get()
                taken = pool.submit(shared.get)
                until(lambda: manager._ask("status")["sessions"][0]["calls"] >= 1)
                start = time.perf_counter()
                assert other.call(slow._id, "quick", (number,), {}, 5) == number
                took.append(time.perf_counter() - start)
                assert not taken.done()
                shared.put(number)
                assert taken.result(5) == number
            assert max(took) < 2 and statistics.median(took) < 0.1, took


def test_many_getters_of_an_empty_queue_are_freed_by_as_many_puts() -> None:
    with Manager() as manager, ThreadPoolExecutor(40) as pool:
        shared = manager.Queue()  # type: ignore[attr-defined]
        for number in range(300):
            shared.put(number)
            shared.get()
        taken = [pool.submit(shared.get) for _ in range(40)]
        until(lambda: manager._ask("status")["sessions"][0]["calls"] == 41)
        for number in range(40):
            shared.put(number)
        assert sorted(call.result(10) for call in taken) == list(range(40))


def test_a_deadline_frees_the_caller_of_an_empty_queue() -> None:
    with Manager() as manager:
        shared = manager.Queue()  # type: ignore[attr-defined]
        own = SESSIONS.current(str(manager.address))
        with pytest.raises(queue.Empty):
            shared.get(timeout=0.05)
        with pytest.raises(DeadlineExceeded):
            own.call(shared._id, "get", (), {}, 1.0)  # time enough for it to begin
        shared.put("for the one that has left")
        until(shared.empty)  # or we may be quicker than its thread is awake
        shared.put("for us")
        assert shared.get() == "for us"
