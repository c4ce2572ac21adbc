"""Many clients at once, and clients that misbehave, of whom the others notice nothing."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sharedmodel import link, wire
from sharedmodel.errors import HostLost
from sharedmodel.handshake import hello
from sharedmodel.outlet import BACKLOG_MOST
from sharedmodel.process import resident
from sharedmodel.session import Session
from sharedmodel.sessions import SESSIONS

from . import clients, doomed
from .crowd import Crowd, HostProcess, probe, session, until

MB = 1 << 20


def sessions_of(host: HostProcess) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = SESSIONS.current(host.address).control("status", timeout=20)["sessions"]
    return found


@pytest.mark.alone  # two hundred sessions and six processes
def test_two_hundred_connections_of_five_processes_at_once(crowd: Crowd) -> None:
    host = crowd.host()
    probe(host.address).echo()
    before = host.holdings()
    children = [crowd.child(clients.sessions, host.address, 40, 5) for _ in range(5)]
    assert [child.hears(60) for child in children] == ["connected"] * 5
    assert len(sessions_of(host)) == 201
    for child in children:
        child.tell()
    assert [child.hears(60) for child in children] == ["600"] * 5
    for child in children:
        child.tell()
    assert [child.ends() for child in children] == [0] * 5
    until(lambda: host.holdings() == before, host.holdings)
    assert len(sessions_of(host)) == 1
    assert host.log == ""


def test_thirty_two_threads_share_one_session(crowd: Crowd) -> None:
    host = crowd.host()
    with session(host.address) as own, ThreadPoolExecutor(32) as pool:

        def calls(number: int) -> None:
            small, large = np.full(100, number), np.full(600_000, number, "u1")
            for turn in range(30):
                assert own.call("probe", "add", (number, turn), {}) == number + turn
                assert own.call("probe", "total", (small,), {}) == 100 * number
                assert (own.call("probe", "filled", (600_000, number), {}) == number).all()
                assert (own.call("probe", "echo", (large,), {}) == large).all()
                if turn % 10 == 0:
                    assert list(own.call("probe", "stream", (20,), {})) == list(range(20))
                    with pytest.raises(ValueError, match=f"number {number}"):
                        own.call("probe", "fail", (f"number {number}",), {})

        list(pool.map(calls, range(32)))
        assert not own.channel.pending
        assert own.control("status")["sessions"][0]["calls"] == 1
    assert host.log == ""


@pytest.mark.alone  # shares of a machine that others use as well are not equal
def test_equal_clients_get_about_equal_shares(crowd: Crowd) -> None:
    host = crowd.host()
    children = [crowd.child(clients.counts, host.address, 2.0) for _ in range(4)]
    assert [child.hears() for child in children] == ["ready"] * 4
    for child in children:
        child.tell()
    told = [child.hears(30).split() for child in children]
    done = [int(count) for count, _ in told]
    assert min(done) > max(done) / 4, done


def test_a_client_that_floods_the_host_leaves_the_others_served(crowd: Crowd) -> None:
    host = crowd.host()
    child = crowd.child(clients.floods, host.address, 40)
    assert child.hears(60) == "floods"  # all of its threads have had an answer, and call on
    with session(host.address) as own:
        for number in range(50):
            assert own.call("probe", "add", (number, 1), {}, 10) == number + 1
    child.kill()


@contextlib.contextmanager
def raw(address: str, *frames: bytes) -> Iterator[socket.socket]:
    """A connection that sends these bytes and then what the test wants."""
    connected = link.connect(address, 10)
    connected.settimeout(10)
    try:
        for frame in frames:
            connected.sendall(frame)
        yield connected
    finally:
        connected.close()


def test_a_flood_of_connections_up_to_the_limit_of_descriptors_disturbs_nobody(crowd: Crowd) -> None:
    host = crowd.host(files=100)
    with session(host.address) as own, contextlib.ExitStack() as flood:
        assert own.call("probe", "total", (np.ones(100_000, "u1"),), {}) == 100_000
        for _ in range(150):
            flood.enter_context(raw(host.address))
        until(lambda: "no further connection can be taken" in host.log)
        used = _cpu(host.pid)
        for number in range(300):
            assert own.call("probe", "add", (number, 1), {}, 10) == number + 1
        # Neither arguments nor results need a descriptor to go on.
        assert own.call("probe", "total", (np.ones(3 * MB, "u1"),), {}, 20) == 3 * MB
        assert (own.call("probe", "filled", (3 * MB,), {}, 20) == 7).all()
        assert _cpu(host.pid) - used < 5.0
        assert host.log.count("no further connection can be taken") == 1
    with session(host.address, timeout=20) as late:
        assert late.call("probe", "add", (1, 2), {}, 10) == 3
    until(lambda: host.descriptors() < 30)


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_clients_that_say_nothing_or_half_a_frame_disturb_nobody(crowd: Crowd) -> None:
    host = crowd.host()
    greeting = hello(True, b"n" * 32)
    halves = [b"", b"\x10", greeting[:9], greeting, greeting + b"\xff\xff\x0f\x00half", greeting + greeting[:3]]
    with contextlib.ExitStack() as stack, session(host.address) as own:
        for half in halves * 5:
            stack.enter_context(raw(host.address, half))
        for number in range(100):
            assert own.call("probe", "add", (number, 1), {}, 10) == number + 1
        assert own.call("probe", "total", (np.ones(3 * MB, "u1"),), {}, 10) == 3 * MB
    until(lambda: len(sessions_of(host)) == 1)


@pytest.mark.alone  # it weighs a host, which has the more threads and heaps the busier the machine is
@pytest.mark.parametrize("kind", ["frames", "memory"])
@pytest.mark.parametrize("result", [60_000, 4_000_000])
def test_a_client_that_reads_nothing_holds_a_bounded_amount_of_memory(kind: str, result: int, crowd: Crowd) -> None:
    """It sends call after call; the host keeps them until it reads, and others are served as before."""
    host = crowd.host(reply_quota=64 * MB)
    with session(host.address) as own, session(host.address, shared_memory=kind == "memory") as greedy:
        own.call("probe", "echo", (), {})
        before = _memory(host)
        sent = 0
        while sent < 200 and _answered(own, 1 if sent * result > BACKLOG_MOST else 20):
            doomed.begin(greedy, "plain", result)
            sent += 1
        for number in range(100):
            assert own.call("probe", "add", (number, 1), {}, 20) == number + 1
        assert _memory(host) - before < 300 * MB, f"{(_memory(host) - before) // MB} MB after {sent} calls"
        assert sent == 200 or sent * result > BACKLOG_MOST  # the host may have read one call more, and keeps it
        greedy.close()
        until(lambda: _memory(host) - before < 100 * MB, lambda: f"{(_memory(host) - before) // MB} MB left")
        with pytest.raises(HostLost):
            greedy.control("ping")


def test_what_a_client_asked_for_and_never_read_is_not_done_when_it_is_gone(crowd: Crowd) -> None:
    """All at once, for nobody, it would take the memory that was saved by letting it wait."""
    host = crowd.host()
    with session(host.address) as own, session(host.address, shared_memory=False) as greedy:
        doomed.begin(greedy, "plain", 3_000_000)
        until(lambda: sum(s["unsent"] for s in own.control("status")["sessions"]) > MB)
        for _ in range(100):  # as many frames as the socket takes without the client having to read
            doomed.begin(greedy, "note", "done for nobody")
        greedy.close()
        until(lambda: len(own.control("status")["sessions"]) == 1)
        assert own.call("probe", "count", ("done for nobody",), {}) == 0
        assert own.call("probe", "add", (1, 2), {}, 20) == 3


def _memory(host: HostProcess) -> int:
    return resident(host.pid)


def _answered(own: Session, patience: float) -> bool:
    """Whether the host has answered all calls of the other session, or does so in time."""
    with contextlib.suppress(AssertionError):
        until(lambda: sum(s["calls"] for s in own.control("status")["sessions"]) == 1, patience=patience)
        return True
    return False


@pytest.mark.parametrize("shared_memory", [True, False])
def test_what_was_not_read_in_time_is_there_when_it_is_read(shared_memory: bool, crowd: Crowd) -> None:
    host = crowd.host(reply_quota=4 * MB)
    with session(host.address, shared_memory=shared_memory) as slow:
        rids = [doomed.begin(slow, "plain", 300_000, number % 200) for number in range(100)]
        pending = [slow.channel.pending[rid] for rid in rids]
        assert slow.call("probe", "add", (1, 2), {}, 60) == 3
        for number, waiter in enumerate(pending):
            until(lambda w=waiter: w.done or slow.control("ping") or w.done)
            assert (waiter.value == number % 200).all() and len(waiter.value) == 300_000


def test_a_frame_that_never_ends_is_refused_at_its_beginning(crowd: Crowd) -> None:
    host = crowd.host()
    length = (wire.MAX_FRAME + 1).to_bytes(4, "little")
    with raw(host.address, hello(True, b"n" * 32), length) as connected, session(host.address) as own:
        until(lambda: "at most" in host.log)
        while connected.recv(65536):
            pass
        assert own.call("probe", "add", (1, 2), {}, 10) == 3
