"""Forks: each process has its own session, and what was there before is each one's own."""

from __future__ import annotations

import os
import signal

import pytest

from sharedmodel.errors import HostLost

from . import forking
from .crowd import Crowd, HostProcess, probe, session, until


@pytest.fixture
def host(crowd: Crowd) -> HostProcess:
    return crowd.host()


@pytest.mark.parametrize("kind", ["sessions", "single", "closed", "asyncio"])
def test_results_and_inputs_from_before_a_fork_stay_each_ones_own(kind: str, host: HostProcess, crowd: Crowd) -> None:
    child = crowd.child(forking.results, host.address, kind)
    assert child.hears(60) == "good"
    assert child.ends() == 0
    assert host.log == ""


def test_forks_amid_the_calls_of_many_threads_disturb_none(host: HostProcess, crowd: Crowd) -> None:
    child = crowd.child(forking.under_traffic, host.address, 50)
    assert child.hears(60) == "good"
    assert child.ends() == 0
    assert host.log == ""


def test_what_is_made_before_workers_are_forked_is_used_by_all_of_them(host: HostProcess, crowd: Crowd) -> None:
    child = crowd.child(forking.preloaded, host.address, 6)
    assert child.hears(30) == "good"
    assert child.ends() == 0


def test_an_inherited_proxy_keeps_its_object_alive(host: HostProcess, crowd: Crowd) -> None:
    child = crowd.child(forking.inherited, host.address)
    assert child.hears(30) == "good"
    assert child.ends() == 0


def test_a_child_goes_on_when_its_parent_is_killed(host: HostProcess, crowd: Crowd) -> None:
    parent = crowd.child(forking.orphan, host.address)
    assert {parent.hears(), parent.hears()} >= {"forked"}
    parent.kill()
    assert parent.hears(30) == "good"


def test_a_child_of_the_host_keeps_no_session_alive(host: HostProcess) -> None:
    observer = probe(host.address)
    with session(host.address) as own:
        child = own.call("probe", "fork", (), {})
        try:
            assert _sessions(host) == 2
            own.close()
            until(lambda: _sessions(host) == 1)
            with session(host.address) as other:
                assert other.call("probe", "add", (1, 2), {}) == 3
            until(lambda: _sessions(host) == 1)
        finally:
            assert observer.reap(child) == child


def test_a_child_of_a_killed_host_keeps_nobody_waiting(host: HostProcess) -> None:
    child = probe(host.address).fork()
    try:
        with session(host.address) as own:
            assert own.call("probe", "add", (1, 2), {}) == 3
            host.kill()
            with pytest.raises(HostLost):
                own.call("probe", "echo", (), {}, 10)
            with pytest.raises(HostLost):
                probe(host.address).echo()
    finally:
        os.kill(child, signal.SIGKILL)


def _sessions(host: HostProcess) -> int:
    from sharedmodel.sessions import SESSIONS

    return len(SESSIONS.current(host.address).control("status")["sessions"])
