"""A host that stands still and a client that is interrupted: deadlines are kept, and all goes on afterwards."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from sharedmodel import link
from sharedmodel.errors import DeadlineExceeded, HostLost, HostUnavailable
from sharedmodel.session import Session
from sharedmodel.sessions import SESSIONS

from . import doomed
from .crowd import Crowd, HostProcess, probe, session, until

AT_MOST = 3.0  # seconds that a deadline of half a second may take on a busy machine


def call(own: Session, method: str, *args: Any, timeout: float | None = None) -> Any:
    return own.call("probe", method, args, {}, timeout)


def takes(action: Callable[[], Any]) -> float:
    """How long it takes to be told that time is up."""
    start = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        action()
    return time.monotonic() - start


@pytest.fixture
def host(crowd: Crowd) -> HostProcess:
    return crowd.host()


def test_callers_of_a_stopped_host_learn_that_their_time_is_up_and_it_goes_on(host: HostProcess) -> None:
    with session(host.address) as own, ThreadPoolExecutor() as pool:
        assert call(own, "echo", 1) == 1
        host.stop()
        waits = [pool.submit(takes, lambda s=s: call(own, "echo", timeout=s)) for s in (0.2, 0.4, 0.6)]
        patient = pool.submit(call, own, "add", 2, 3)
        times = [wait.result(10) for wait in waits]
        for seconds, took in zip((0.2, 0.4, 0.6), times, strict=True):
            assert seconds <= took < seconds + AT_MOST
        host.go_on()
        assert patient.result(10) == 5
        assert call(own, "add", 1, 1) == 2


@pytest.mark.parametrize("what", ["first array", "in place", "bytes", "many", "frames"])
def test_a_deadline_is_kept_where_the_arguments_need_the_host_too(what: str, host: HostProcess) -> None:
    with session(host.address, shared_memory=what != "frames") as own:
        assert call(own, "echo", 1) == 1
        argument: Any = {
            "first array": lambda: np.ones(3_000_000, "u1"),
            "in place": lambda: own.empty(3_000_000, "u1"),
            "bytes": lambda: bytes(3_000_000),
            "many": lambda: [np.ones(1000)] * 2000,
            "frames": lambda: np.ones(3_000_000, "u1"),
        }[what]()
        host.stop()
        for _ in range(3):
            took = takes(lambda: call(own, "total", argument, timeout=0.5))
            assert 0.5 <= took < AT_MOST
        host.go_on()
        assert call(own, "add", 1, 1, timeout=20) == 2
        assert call(own, "total", np.ones(3_000_000, "u1"), timeout=20) == 3_000_000


def test_a_deadline_is_kept_when_the_socket_is_full(host: HostProcess) -> None:
    with session(host.address) as own, ThreadPoolExecutor() as pool:
        text = "x" * 60_000
        assert call(own, "echo", text) == text
        host.stop()
        full = [pool.submit(takes, lambda: call(own, "echo", text, timeout=0.5)) for _ in range(12)]
        assert max(future.result(10) for future in full) < AT_MOST
        assert takes(lambda: call(own, "echo", timeout=0.3)) < AT_MOST
        host.go_on()
        assert call(own, "echo", text, timeout=20) == text


def test_connecting_to_a_stopped_host_ends_with_its_time(host: HostProcess) -> None:
    host.stop()
    start = time.monotonic()
    with pytest.raises((DeadlineExceeded, HostUnavailable)):
        Session(host.address, timeout=0.3)
    assert time.monotonic() - start < AT_MOST


def test_a_host_that_does_not_answer_holds_up_no_call_to_another(crowd: Crowd, runtime: str) -> None:
    good = crowd.host(name="good")
    with socket.socket(socket.AF_UNIX) as silent, ThreadPoolExecutor() as pool:
        silent.bind(f"{runtime}/silent")
        silent.listen()
        stuck = pool.submit(SESSIONS.current, f"{runtime}/silent")
        accepted, _ = silent.accept()
        try:
            connected = pool.submit(probe(good.address).add, 1, 2)
            assert connected.result(5) == 3
        finally:
            accepted.close()
        with pytest.raises(HostLost):
            stuck.result(5)


def test_ctrl_c_in_a_call_that_waits_cancels_it_and_the_session_lives_on(host: HostProcess, crowd: Crowd) -> None:
    client = crowd.child(doomed.interrupted, host.address)
    assert client.hears() == "waits"
    until(lambda: probe(host.address).count("entered"))
    client.signal(signal.SIGINT)
    assert client.hears() == "KeyboardInterrupt"
    assert [client.hears() for _ in range(3)] == ["mine", "3", "True"]
    assert client.ends() == 0
    until(lambda: probe(host.address).count("cancelled") == probe(host.address).count("left") == 1)


def test_ctrl_c_at_any_moment_of_quick_calls_leaves_no_lock_behind(host: HostProcess, crowd: Crowd) -> None:
    client = crowd.child(doomed.interrupted_often, host.address, 300)
    assert client.hears() == "ready"
    moments = np.random.default_rng(7).uniform(0, 300e-6, 1000)
    for moment in moments:
        line = client.hears()
        if line != "again":
            break
        end = time.perf_counter() + moment
        while time.perf_counter() < end:
            pass
        client.signal(signal.SIGINT)
    assert line == "done"
    assert client.ends() == 0
    assert host.log == ""


def test_ctrl_c_while_a_call_is_being_sent_leaves_the_session_whole(host: HostProcess, crowd: Crowd) -> None:
    client = crowd.child(doomed.interrupted_in_sending, host.address)
    assert client.hears() == "ready"
    host.stop()
    client.tell()
    assert client.hears() == "sends"
    sent = threading.Event()
    assert not sent.wait(0.3)  # until it blocks: the kernel has no event for that
    client.signal(signal.SIGINT)
    assert client.hears() == "KeyboardInterrupt"
    host.go_on()
    assert [client.hears() for _ in range(2)] == ["mine", "True"]
    assert client.ends() == 0
    assert host.log == ""


def test_a_full_backlog_is_waited_for(runtime: str) -> None:
    address = f"{runtime}/full"
    with socket.socket(socket.AF_UNIX) as listener, ThreadPoolExecutor() as pool:
        listener.bind(address)
        listener.listen(0)
        first = link.try_connect(address)
        assert first is not None and link.try_connect(address) is None
        with pytest.raises(HostUnavailable, match="backlog stayed full"):
            link.connect(address, 0.1)
        waiting = pool.submit(link.connect, address, 10)
        listener.accept()[0].close()
        waiting.result(10).close()
        first.close()
