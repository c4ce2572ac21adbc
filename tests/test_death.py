"""How a host's end is put into words, and how long the next one waits."""

from __future__ import annotations

import signal

import pytest

from sharedmodel.server.death import Death, Restarts, cause_of, reason
from sharedmodel.server.machine.oom import Kills


@pytest.mark.parametrize(
    ("code", "fatal", "after", "told"),
    [
        (0, "", Kills(), "ended by itself with exit code 0"),
        (1, "ValueError: x", Kills(), "ended with exit code 1: ValueError: x"),
        (-signal.SIGKILL, "", Kills(), "killed by SIGKILL"),
        (-signal.SIGKILL, "", Kills(cgroup=1, machine=1), "memory limit of the cgroup"),
        (-signal.SIGKILL, "", Kills(machine=1), "while the machine was out of memory"),
        (-signal.SIGSEGV, "", Kills(machine=1), "crashed with SIGSEGV"),
        (-signal.SIGTERM, "", Kills(), "killed by SIGTERM"),
        (-63, "", Kills(), "killed by signal 63"),
    ],
)
def test_an_end_is_told_by_its_cause(code: int, fatal: str, after: Kills, told: str) -> None:
    assert told in reason(code, fatal, after, 2_000_000_000)


def test_the_memory_reached_is_told_where_it_was_the_cause() -> None:
    assert "2.0 GB" in reason(-signal.SIGKILL, "", Kills(cgroup=1), 2_000_000_000)


def death(*, lived: float = 1.0, ready: bool = True, wanted: bool = False, outside: bool = False) -> Death:
    return Death(at=0.0, lived=lived, pid=1, code=1, ready=ready, reason="why", wanted=wanted, outside=outside)


def test_the_first_restart_is_immediate_and_later_ones_take_ever_longer() -> None:
    restarts = Restarts()
    delays = [restarts.died(death(ready=False)) for _ in range(12)]
    assert delays[0] == 0
    assert delays == sorted(delays)
    assert delays[-1] == 30


def test_a_host_that_came_to_serve_is_not_waited_for_long() -> None:
    restarts = Restarts()
    assert max(restarts.died(death()) for _ in range(50)) == 2
    assert not restarts.failing


def test_a_host_that_lived_long_begins_a_new_row() -> None:
    restarts = Restarts()
    for _ in range(9):
        restarts.died(death())
    assert restarts.died(death(lived=3600)) == 0


def test_three_hosts_in_a_row_that_never_served_are_a_failure_until_one_does() -> None:
    restarts = Restarts()
    for _ in range(3):
        assert not restarts.failing
        restarts.died(death(ready=False))
    assert restarts.failing
    restarts.ready()
    assert not restarts.failing


def test_one_that_others_killed_comes_back_at_once_and_is_no_failure_for_long() -> None:
    restarts = Restarts()
    assert max(restarts.died(death(outside=True)) for _ in range(50)) == 0.2
    delays = []
    for _ in range(10):
        assert not restarts.failing
        delays.append(restarts.died(death(outside=True, ready=False)))
    assert restarts.failing and max(delays) == 2
    restarts.ready()
    assert not restarts.failing


def test_a_wanted_restart_is_no_death_in_the_row() -> None:
    restarts = Restarts()
    restarts.died(death(ready=False))
    assert restarts.died(death(wanted=True)) == 0
    assert restarts.died(death(ready=False)) == 0


@pytest.mark.parametrize(
    ("code", "after", "how", "cause"),
    [
        (3, Kills(), {}, "exit"),
        (-signal.SIGSEGV, Kills(), {}, "SIGSEGV"),
        (-signal.SIGKILL, Kills(), {}, "SIGKILL"),
        (-signal.SIGKILL, Kills(cgroup=1, machine=1), {}, "out-of-memory"),
        (-signal.SIGKILL, Kills(machine=1), {}, "out-of-memory"),
        (-signal.SIGKILL, Kills(), {"fault": True}, "stuck"),
        (0, Kills(), {"wanted": True}, "asked"),
        (-signal.SIGKILL, Kills(), {"wanted": True, "fault": True}, "asked"),
    ],
)
def test_a_death_is_counted_under_one_of_few_words(code: int, after: Kills, how: dict[str, bool], cause: str) -> None:
    assert cause_of(code, after, **{"wanted": False, "fault": False, **how}) == cause


def test_deaths_are_counted_by_their_cause_beyond_those_that_are_remembered() -> None:
    restarts = Restarts()
    for cause in ["exit"] * 30 + ["stuck"]:
        restarts.died(death()._replace(cause=cause))
    assert restarts.causes == {"exit": 30, "stuck": 1} and len(restarts.deaths) < 31
