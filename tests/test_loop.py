"""Who has the host's loop while a method runs, and what becomes of it afterwards."""

from __future__ import annotations

import re
import resource
import select
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sharedmodel.loop import ANEW, GO_ON, LOST, Loop
from sharedmodel.service import Service
from sharedmodel.session import Session
from sharedmodel.standby import Standby
from sharedmodel.workers import Workers

from .crowd import Crowd, until
from .crowd import session as session_to
from .inside import PATIENCE, call, in_thread, serving, session_with


class Slow:
    """Its methods take longer than the loop may be kept."""

    def __init__(self) -> None:
        self.entered, self.may_leave = threading.Event(), threading.Event()

    def thread(self) -> int:
        time.sleep(0.002)
        return threading.get_ident()

    def block(self) -> int:
        self.entered.set()
        assert self.may_leave.wait(PATIENCE)
        return threading.get_ident()


@pytest.fixture
def loop() -> Iterator[Loop]:
    """One for which nothing ever comes."""
    with select.epoll() as poll:
        workers, standby = Workers(), Standby(poll.fileno())
        made = Loop(workers, standby, lambda: LOST)
        yield made
        made.stop()
        assert workers.close(PATIENCE)
        standby.close()


def _thread(service: Service, session: Session) -> int:
    """Which one runs a call. It has the loop back, if it gets it back, before anything else comes."""
    found: int = call(session, "thread", on="slow")
    until(lambda: not service.loop._lent)
    return found


def test_a_lone_caller_is_served_by_one_thread_however_long_it_takes(runtime: str) -> None:
    with serving(runtime, slow=Slow()) as service, session_with(service) as session:
        assert len({_thread(service, session) for _ in range(30)}) == 1


def test_a_thread_that_was_relieved_while_its_method_ran_leaves_the_loop_to_the_other(runtime: str) -> None:
    slow = Slow()
    with serving(runtime, slow=slow) as service, session_with(service) as one, session_with(service) as other:
        blocked = in_thread(lambda: call(one, "block", on="slow"))
        assert slow.entered.wait(PATIENCE)
        threads = {_thread(service, other) for _ in range(10)}
        slow.may_leave.set()
        relieved = blocked()
        assert len(threads) == 1 and relieved not in threads
        assert _thread(service, one) and _thread(service, other), "whichever has the loop now"


def test_the_monitor_sleeps_while_all_calls_are_slow_and_sees_one_that_was_to_be_quick(runtime: str) -> None:
    slow = Slow()
    with serving(runtime, slow=slow) as service, session_with(service) as one, session_with(service) as other:
        (monitor,) = [thread for thread in threading.enumerate() if thread.name == "sharedmodel-monitor"]

        def wakes() -> int:
            """How often it has woken within 20 calls of 2 ms each, where it may tick every 4 ms."""
            before = _switches(monitor)
            for _ in range(20):
                _thread(service, other)
            return _switches(monitor) - before

        until(lambda: wakes() == 0)
        service.objects.get("slow").pace = {"block": 0.0}
        blocked = in_thread(lambda: call(one, "block", on="slow"))
        assert slow.entered.wait(PATIENCE)
        assert call(other, "echo", 1) == 1
        slow.may_leave.set()
        assert blocked()


def _switches(thread: threading.Thread) -> int:
    status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
    return int(re.findall(r"^voluntary_ctxt_switches:\s*(\d+)", status, re.M)[0])


class Faulty:
    """A schedule whose first turn fails, as only a fault of the host's own can make it."""

    methods = frozenset({"echo"})
    gathers = brief = False

    def __init__(self, at_once: bool) -> None:
        self.at_once = at_once
        self.calls: list[Any] = []
        self.served: Any = None

    def admit(self, *calls: Any) -> Faulty:
        self.calls += calls
        return self

    def work(self) -> float:
        if len(self.calls) == 1:
            raise RuntimeError("a fault of the host's own")
        while self.calls:
            self.calls.pop().run(self.served)
        return 0.0


@pytest.mark.parametrize("quick", [True, False])
def test_a_fault_in_a_turn_leaves_one_thread_with_the_loop(
    runtime: str, quick: bool, caplog: pytest.LogCaptureFixture
) -> None:
    faulty = Faulty(at_once=quick)
    with serving(runtime) as service, session_with(service) as one, session_with(service) as other:
        faulty.served = served = service.objects.get("probe")
        served.schedule, served.pace = faulty, {"echo": 0.0 if quick else 1.0}
        first = in_thread(lambda: call(one, "echo", 1))
        until(lambda: len(faulty.calls) == 1 and len(caplog.records) == 1)
        assert call(other, "echo", 2) == 2
        assert first() == 1
        assert {_has_loop(service) for _ in range(20)} == {True}
    assert "a fault in the host, beside a call of probe" in caplog.text


def _has_loop(service: Service) -> bool:
    """Whether nobody stands still, and the loop is not for whoever comes."""
    until(lambda: service.loop._running is None and not service.loop._lent)
    return True


def test_a_loop_that_nobody_took_is_gone_on_with(loop: Loop) -> None:
    for _ in range(3):
        assert loop.take_back(loop.lend()) == GO_ON


def test_a_loop_that_another_thread_has_kept_is_lost(loop: Loop) -> None:
    claims = loop.lend()
    assert loop.take_back(-1) == ANEW, "by another thread"
    assert loop.take_back(claims) == LOST


def test_events_at_hand_are_stale_once_another_thread_has_had_the_loop(loop: Loop) -> None:
    """It may have ended a session, and a new one may have got the number that an event still means."""
    claims = loop.lend()
    loop.take_back(-1)
    loop.lend()
    assert loop.take_back(claims) == ANEW


def test_a_caller_that_sleeps_is_woken_once_for_its_answer(crowd: Crowd) -> None:
    """Not a second time when the host takes what it has sent."""
    host = crowd.host()
    with session_to(host.address) as session:
        for _ in range(5):
            session.call("probe", "spin", (0.002,), {})
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
        for _ in range(40):
            session.call("probe", "spin", (0.002,), {})
        assert resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - before < 60


def test_a_process_that_lives_is_not_taken_for_ended_because_of_the_number_of_another(
    service: Service, session: Session
) -> None:
    call(session, "echo")
    (peer,) = service.peers.values()
    assert peer.pidfd >= 0 and service.watched.processes == {peer.pidfd: peer}
    assert service.watched.ended(peer.pidfd) is None and service.watched.ended(peer.fd) is None
