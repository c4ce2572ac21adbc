"""Calls whose host died over them: which are sent again, which run alone first, and which are refused."""

from __future__ import annotations

import asyncio
import os
import selectors
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from sharedmodel.client import aconnect, connect
from sharedmodel.client.replay import Replay
from sharedmodel.errors import HostLost, Poisonous
from sharedmodel.server import messages, suspects
from sharedmodel.server.hosts import Hosts
from sharedmodel.server.journal import SLOTS, Journal
from sharedmodel.server.keeper import LONGEST_SILENCE, SILENCE
from sharedmodel.server.place import QUARANTINE, Place
from sharedmodel.server.settings import Settings
from sharedmodel.server.suspects import Deaths, Suspects

from .servers import Server, release, running_server, until

CONFIG = """
[models.crasher]
factory = "zoo:Crasher"
idempotent = ["add", "pid", "crash", "crash_once", "held_by"]
"""
LOITERER = """
[models.slow]
factory = "zoo:Loiterer"
idempotent = ["wait", "add"]
max_run = 0.5
"""


@pytest.fixture
def server(runtime: str) -> Iterator[Server]:
    with running_server(CONFIG, runtime) as started:
        yield started


@pytest.mark.parametrize("how", ["segfault", "abort", "exit"])
def test_a_call_that_ends_every_host_it_runs_in_is_refused_as_poisonous(how: str, server: Server) -> None:
    crasher = connect(server.address).model("crasher")
    with pytest.raises(Poisonous, match=r"crasher\.crash\(\) ended its host twice"):
        crasher.crash(how)
    assert crasher.add(1, 2) == 3
    assert [death["host"] for death in server.status()["deaths"]] == ["", "#quarantine"]


def test_a_suspect_that_does_no_harm_alone_has_its_result(server: Server, runtime: str) -> None:
    crasher = connect(server.address).model("crasher")
    where = crasher.crash_once(os.path.join(runtime, "mark"), "segfault")
    assert where == server.pid_of("#quarantine") != server.host_pid
    assert crasher.pid() == server.host_pid


def test_who_only_ran_beside_a_poisonous_call_has_a_result(server: Server, runtime: str) -> None:
    crasher = connect(server.address).model("crasher")
    pipe = os.path.join(runtime, "pipe")
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as pool:
        beside = pool.submit(crasher.held_by, pipe)
        with open(pipe, "w"):  # opens when the call runs
            poisonous = pool.submit(crasher.crash, "segfault")
            until(lambda: bool(server.status()["deaths"]), lambda: server.log)
        release(pipe, beside)  # in quarantine it may be the first, and the other one waits for its end
        with pytest.raises(Poisonous):
            poisonous.result()
        status = server.status()
        quarantined = [each["pid"] for each in status["hosts"] if each["name"] == "#quarantine"]
        quarantined += [death["pid"] for death in status["deaths"] if death["host"] == "#quarantine"]
        assert beside.result() in quarantined


def test_a_call_whose_host_was_killed_from_outside_is_no_suspect(server: Server, runtime: str) -> None:
    crasher = connect(server.address).model("crasher")
    pipe = os.path.join(runtime, "pipe")
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as pool:
        held = pool.submit(crasher.held_by, pipe)
        for _ in range(3):  # as often as it happens
            with open(pipe, "w"):
                server.kill_host()
        release(pipe, held)
        assert held.result() == server.host_pid


def test_a_call_that_has_its_host_killed_again_and_again_is_refused_in_the_end(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sharedmodel.client.replay.KILLED", 1)
    crasher = connect(server.address).model("crasher")
    with pytest.raises(Poisonous, match=r"ended its host 4 times, at last running alone.*killed by SIGKILL"):
        crasher.crash("kill")
    assert crasher.add(1, 2) == 3
    assert [death["host"] for death in server.status()["deaths"]] == ["", "", "#quarantine", "#quarantine"]


def test_a_call_that_keeps_two_hosts_silent_for_too_long_is_refused(runtime: str) -> None:
    with running_server(LOITERER, runtime) as server:
        slow = connect(server.address).model("slow")
        with pytest.raises(Poisonous, match="no sign of life"):
            slow.wait("lock")
        assert slow.add(1, 2) == 3
        assert [death["host"] for death in server.status()["deaths"]] == ["", "#quarantine"]


def test_a_silent_host_is_waited_for_while_a_call_or_a_load_may_take_as_long(runtime: str) -> None:
    told: list[str] = []
    child: Any = SimpleNamespace(states={"m": {"state": "ready"}}, kill=lambda: told.append("killed"))
    with selectors.DefaultSelector() as selector:
        hosts = Hosts(Place(runtime), selector, lambda *_: None, lambda *_: None)
        hosts.apply(Settings())
        keeper = hosts.first
        keeper.child = child
        try:
            keeper.beat()
            begun = keeper._beaten
            slot = keeper.journal.enter(1, 1, begun + 60)
            for after in (10, 20, 60):
                keeper.expire(begun + after)
                assert not told and begun + after < keeper.due <= begun + 61
            keeper.journal.leave(slot)
            slot = keeper.journal.enter(1, 2)  # whose model may take for ever
            keeper.expire(begun + 10_000)
            keeper.journal.leave(slot)
            child.states["m"]["replacement"] = "loading"
            keeper.expire(begun + LONGEST_SILENCE - 1)
            assert not told
            keeper.beat()
            del child.states["m"]["replacement"]
            keeper.expire(keeper._beaten + SILENCE)
            assert told == ["killed"] and child.silent
        finally:
            keeper.child = None
            hosts.close()


def test_the_event_loop_refuses_and_replays_in_the_same_way(server: Server, runtime: str) -> None:
    async def calls() -> int:
        async with await aconnect(server.address) as host:
            crasher = await host.model("crasher")
            with pytest.raises(Poisonous):
                await crasher.crash("abort")
            where = await crasher.crash_once(os.path.join(runtime, "mark"), "abort")
            assert isinstance(where, int)
            return where

    assert asyncio.run(calls()) == server.pid_of("#quarantine")


def test_the_quarantine_costs_no_process_until_it_is_needed(server: Server) -> None:
    assert [host["name"] for host in server.status()["hosts"]] == [""]


def test_an_isolated_models_suspects_run_in_the_same_quarantine(runtime: str) -> None:
    config = CONFIG + 'isolate = true\n[models.other]\nfactory = "zoo:Echo"\nidempotent = ["pid"]\n'
    with running_server(config, runtime) as server:
        host = connect(server.address)
        other = host.model("other").pid()
        crasher = host.model("crasher")
        with pytest.raises(Poisonous):
            crasher.crash("abort")
        assert crasher.crash_once(os.path.join(runtime, "mark"), "exit") == server.pid_of("#quarantine")
        assert host.model("other").pid() == other
        until(lambda: server.state() == "ready", lambda: server.log)


def test_the_journal_tells_what_was_executing_and_forgets_what_ended() -> None:
    fd = Journal.create()
    host, supervisor = Journal(fd), Journal(fd)
    os.close(fd)
    slots = [host.enter(7, request) for request in range(1, 4)]
    host.leave(slots[1])
    assert sorted(supervisor.executing()) == [[7, 1], [7, 3]]
    supervisor.clear()
    assert supervisor.executing() == []
    host.close()
    supervisor.close()


def test_a_full_journal_notes_no_more_and_breaks_nothing() -> None:
    fd = Journal.create()
    journal = Journal(fd)
    os.close(fd)
    slots = [journal.enter(1, number) for number in range(1, SLOTS + 5)]
    assert slots.count(-1) == 4 and len(set(slots)) == SLOTS + 1
    for slot in slots:
        journal.leave(slot)
    assert journal.executing() == []
    journal.close()


def test_a_death_that_nobody_told_of_makes_no_suspects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sharedmodel.server.suspects.NEWS_TIMEOUT", 0.01)
    assert Deaths([], "quarantine").verdict(1, 2, 3) is None


def test_news_of_a_death_wakes_who_waits_for_it() -> None:
    suspects = Suspects()
    deaths = Deaths(suspects.told(), "quarantine")
    with ThreadPoolExecutor() as pool:
        verdicts = [pool.submit(deaths.verdict, 10, 2, number) for number in (3, 4)]
        suspects.died(10, "crashed", [[2, 3]])
        deaths.update(suspects.told())
        assert [future.result() for future in verdicts] == [{"address": "quarantine", "reason": "crashed"}, None]


def test_a_host_hears_of_deaths_that_came_while_it_was_being_started(runtime: str) -> None:
    told: list[Any] = []
    child: Any = SimpleNamespace(serving=False, states={}, tell=lambda *said: told.append(said))
    death: Any = SimpleNamespace(pid=10, reason="crashed", executing=[(2, 3)], outside=False)
    with selectors.DefaultSelector() as selector:
        hosts = Hosts(Place(runtime), selector, lambda *_: None, lambda *_: None)
        hosts.apply(Settings())
        hosts.first.child = child
        try:
            hosts._died(next(keeper for keeper in hosts if keeper.name == QUARANTINE), death)
            assert not told
            child.serving = True
            hosts.serves(hosts.first)
        finally:
            hosts.first.child = None
            hosts.close()
    assert (messages.DEATHS, [[10, "crashed", [[2, 3]], False]]) in told


def lost(*, begun: bool = True) -> HostLost:
    error = HostLost("gone")
    error.begun = begun
    error.request = 5
    return error


def test_what_had_not_left_is_sent_again_a_few_times_whatever_the_method() -> None:
    replay = Replay("m.f()", idempotent=False)
    for _ in range(3):
        assert replay.lost(lost(begun=False), {}) is None
    with pytest.raises(HostLost):
        replay.lost(lost(begun=False), {})


def test_a_host_without_a_directory_is_not_asked() -> None:
    assert Replay("m.f()", idempotent=True).lost(lost(), {"pid": 1}) is None


def test_a_free_call_in_quarantine_goes_on_there() -> None:
    replay = Replay("m.f()", idempotent=True)
    assert replay.lost(lost(), {"pid": 1, "session": 2}) == (1, 2, 5)
    replay.told({"address": "q", "reason": "crashed"})
    replay.told(None)
    assert replay.quarantine == "q"


def test_calls_are_not_sent_again_without_end() -> None:
    replay = Replay("m.f()", idempotent=True)
    with pytest.raises(HostLost):
        for _ in range(1000):
            replay.lost(lost(), {"pid": 1, "session": 2})


def test_of_a_host_that_lives_no_death_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suspects, "NEWS_TIMEOUT", None)  # for ever
    assert Deaths([], "quarantine").verdict(os.getpid(), 1, 2) is None
