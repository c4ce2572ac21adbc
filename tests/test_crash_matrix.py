"""Clients and hosts die in every state of a call: the others end with the right error or go on."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from sharedmodel.errors import CannotCross, DeadlineExceeded, HostLost, RemoteError, UnknownObject
from sharedmodel.session import Session
from sharedmodel.sessions import SESSIONS

from . import doomed
from .crowd import Crowd, HostProcess, probe, session, until

STAGES = ("before send", "queued", "in the model", "in the reply")
HOWS = ("error", "sys.exit", "exit", "SIGKILL")
SOON = 5.0


def test_sanity_of_the_observer(crowd: Crowd) -> None:
    host = crowd.host()
    assert Observer(host).sees() == {"sessions": 1, "objects": 0, "calls": 1}


class Observer:
    """Watches a host: what its clients make it hold, from within and from without."""

    def __init__(self, host: HostProcess) -> None:
        self.host = host
        self.probe = probe(host.address, timeout=SOON)
        self.probe.echo()
        self.sees()
        self._before = host.holdings()

    def sees(self) -> dict[str, int]:
        status = SESSIONS.current(self.host.address).control("status", timeout=SOON)
        objects = SESSIONS.current(self.host.address).control("number_of_objects", timeout=SOON)
        sessions = status["sessions"]
        return {"sessions": len(sessions), "objects": objects, "calls": sum(s["calls"] for s in sessions)}

    def theirs(self) -> dict[str, Any]:
        """The other session, as the host describes it."""
        status = SESSIONS.current(self.host.address).control("status", timeout=SOON)
        (found,) = (s for s in status["sessions"] if s["pid"] != os.getpid())
        return dict(found)

    def all_is_released(self) -> None:
        # From without first: asking the host would itself make it move on.
        until(lambda: self.host.holdings() == self._before, lambda: f"{self.host.holdings()} != {self._before}", SOON)
        until(lambda: self.sees() == {"sessions": 1, "objects": 0, "calls": 1}, self.sees, SOON)
        assert self.probe.add(1, 2) == 3
        assert not [name for name in os.listdir("/dev/shm") if name.startswith(f"sharedmodel-{self.host.pid}.")]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("stage", STAGES)
def test_what_a_dead_client_held_is_released(stage: str, how: str, crowd: Crowd) -> None:
    host = crowd.host()
    observer = Observer(host)
    with crowd.directory and open(f"{crowd.directory}/stderr", "wb") as stderr:
        child = crowd.child(doomed.client, host.address, stage, how, stderr=stderr)
        assert child.hears() == stage
        assert observer.theirs()["objects"] == 2
        if stage == "queued":
            host.stop()
        child.tell()
        assert child.hears() == "there"
        if stage == "in the model":
            until(lambda: observer.probe.count("entered"))
        elif stage == "in the reply":
            until(lambda: observer.theirs()["replies"] > 12_000_000)
        child.tell()
        assert child.ends() == {"error": 1, "sys.exit": 3, "exit": 3, "SIGKILL": -9}[how]
    if stage == "queued":
        host.go_on()
    observer.all_is_released()
    if stage == "in the model":
        until(lambda: observer.probe.count("cancelled") == observer.probe.count("left") == 1)
    if stage == "in the reply":
        until(lambda: observer.probe.count("closed") == 1)
    assert host.log == ""


def test_a_client_killed_while_its_child_keeps_the_socket_open_is_noticed(crowd: Crowd) -> None:
    host = crowd.host()
    observer = Observer(host)
    client = crowd.child(doomed.with_a_child, host.address)
    grandchild = int(client.hears())
    try:
        assert observer.sees()["sessions"] == 2
        client.tell()
        client.ends()
        observer.all_is_released()
    finally:
        os.kill(grandchild, signal.SIGKILL)


# -- the host ---------------------------------------------------------------------------------------------


def ends(call: Callable[[], Any]) -> Any:
    """How a call ends: its result or its exception."""
    try:
        return call()
    except Exception as exc:
        return exc


@pytest.mark.parametrize("how", ["exit", "SIGKILL"])
def test_a_host_that_died_before_the_call_is_lost(how: str, crowd: Crowd) -> None:
    host = crowd.host()
    target = probe(host.address)
    assert isinstance(ends(lambda: target.die(how)), HostLost)
    error = ends(target.echo)
    assert isinstance(error, HostLost) and isinstance(error, ConnectionError) and isinstance(error, EOFError)


def test_a_mistake_before_the_call_is_an_error_of_that_call_alone(crowd: Crowd) -> None:
    host = crowd.host()
    with session(host.address) as own:
        assert isinstance(ends(lambda: own.call("nothing", "x", (), {})), UnknownObject)
        assert own.call("probe", "echo", (5,), {}) == 5


@pytest.mark.parametrize("how", ["error", "exit", "SIGKILL"])
def test_a_call_that_waits_in_the_queue_of_a_dying_host_ends(how: str, crowd: Crowd) -> None:
    host = crowd.host()
    with session(host.address) as own, ThreadPoolExecutor() as pool:
        own.call("probe", "echo", (1,), {})
        host.stop()
        queued = [pool.submit(ends, lambda: own.call("probe", "wait", ("never",), {})) for _ in range(3)]
        until(lambda: len(own.channel.pending) == 3)
        if how == "SIGKILL":
            host.kill()
        else:
            last = pool.submit(ends, lambda: own.call("probe", "die", (how,), {}))
            until(lambda: len(own.channel.pending) == 4)
            host.go_on()
            if how == "error":
                assert str(last.result(SOON)) == "error"
                with session(host.address) as other:
                    other.call("probe", "open", ("never",), {})
                assert [call.result(SOON) for call in queued] == ["never"] * 3
                return
            assert isinstance(last.result(SOON), HostLost)
        assert all(isinstance(call.result(SOON), HostLost) for call in queued)


@pytest.mark.parametrize("how", ["error", "sys.exit", "exit", "SIGKILL"])
def test_a_call_inside_a_model_that_dies_ends(how: str, crowd: Crowd) -> None:
    host = crowd.host()
    with session(host.address) as own, session(host.address) as other, ThreadPoolExecutor() as pool:
        dying = pool.submit(ends, lambda: own.call("probe", "die", (how, "gate"), {}))
        beside = pool.submit(ends, lambda: own.call("probe", "wait", ("beside",), {}))
        until(lambda: other.call("probe", "count", ("entered",), {}) == 2)
        pool.submit(ends, lambda: other.call("probe", "open", ("gate",), {}))
        error = dying.result(SOON)
        if how in ("error", "sys.exit"):
            # A model that raises SystemExit has not ended its host.
            assert type(error) is (RuntimeError if how == "error" else RemoteError)
            other.call("probe", "open", ("beside",), {})
            assert beside.result(SOON) == "beside"
        else:
            assert isinstance(error, HostLost)
            assert isinstance(beside.result(SOON), HostLost)


def test_a_reply_that_can_not_be_sent_is_an_error_of_that_call_alone(crowd: Crowd) -> None:
    host = crowd.host()
    with session(host.address) as own:
        with pytest.raises(CannotCross, match=r"the result of uncrossable\(\): object does not cross"):
            own.call("probe", "uncrossable", (), {})
        stream = own.call("probe", "stream", (9, 0, 3), {})
        assert [next(stream) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ValueError, match="item 3"):
            next(stream)
        assert own.call("probe", "echo", (5,), {}) == 5


@pytest.mark.parametrize("shared_memory", [True, False])
def test_a_host_killed_in_the_middle_of_a_reply_is_lost(shared_memory: bool, crowd: Crowd) -> None:
    host = crowd.host()
    with session(host.address, shared_memory=shared_memory) as own:
        stream = own.call("probe", "stream", (1000, 100_000), {})
        assert (next(stream) == 0).all()
        doomed.begin(own, "plain", 50_000_000)
        with session(host.address) as other:

            def in_the_reply() -> bool:
                told = other.control("status")["sessions"][0]
                return bool(told["replies"] >= 50_000_000 if shared_memory else told["unsent"])

            until(in_the_reply)
        host.kill()
        received = 0
        with pytest.raises(HostLost):
            for _ in stream:
                received += 1
        assert received < 50
        assert isinstance(ends(lambda: own.call("probe", "echo", (), {})), HostLost)


def test_results_of_a_killed_host_stay(crowd: Crowd) -> None:
    host = crowd.host()
    result = probe(host.address).filled(3_000_000)
    host.kill()
    assert isinstance(ends(probe(host.address).echo), HostLost)
    result[:10] = 1
    assert result.sum() == 7 * 3_000_000 - 60


def test_eight_threads_and_four_processes_learn_at_once_that_the_host_was_killed(crowd: Crowd) -> None:
    host = crowd.host()
    target = probe(host.address)
    children = [crowd.child(doomed.caller, host.address) for _ in range(4)]
    assert [child.hears() for child in children] == ["calls"] * 4
    array = np.ones(300_000)
    began = threading.Barrier(9)

    def calls(kind: int) -> float:
        began.wait()
        try:
            while True:
                (target.wait if kind == 0 else target.total if kind % 2 else target.echo)(
                    *(() if kind == 0 else (array,))
                )
        except HostLost:
            return time.monotonic()

    with ThreadPoolExecutor(8) as pool:
        threads = [pool.submit(calls, kind) for kind in range(8)]
        began.wait()
        until(lambda: target.count("entered") and target.total(array) == 300_000)
        killed = time.monotonic()
        host.kill()
        assert max(thread.result(SOON) for thread in threads) - killed < SOON
    assert [child.hears() for child in children] == ["HostLost"] * 4
    assert [child.ends() for child in children] == [0] * 4


def test_sessions_with_a_host_are_made_anew_when_it_is_back(crowd: Crowd) -> None:
    host = crowd.host()
    target = probe(host.address)
    old: Session = SESSIONS.current(host.address)
    host.kill()
    assert isinstance(ends(target.echo), HostLost)
    crowd.host()
    assert target.echo(3) == 3
    assert SESSIONS.current(host.address) is not old


def test_a_deadline_is_kept_whatever_the_host_does(crowd: Crowd) -> None:
    host = crowd.host()
    with session(host.address) as own:
        start = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            own.call("probe", "wait", (), {}, 0.3)
        assert 0.3 <= time.monotonic() - start < SOON
        until(lambda: own.call("probe", "count", ("cancelled",), {}) == 1)
