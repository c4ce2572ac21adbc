"""The end of an idle server: who is asked, whose answers count, and the socket's name meanwhile."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sharedmodel.server.place import Place
from sharedmodel.server.retire import PATIENCE, Retirement
from sharedmodel.server.settings import Settings

from .servers import ECHO, running_server


class Host:
    """Answers when the test does it for it."""

    def __init__(self) -> None:
        self.on_demand = False
        self.child: Any = object()
        self.questions = 0

    def tell(self, kind: int) -> bool:
        self.questions += 1
        return True


class Idle:
    """A supervisor of two hosts, one of which says that nobody is there."""

    def __init__(self, directory: str) -> None:
        self.place = Place(directory)
        self.settings = Settings(idle_exit=1.0)
        self.stopping = False
        self.first, self.other = Host(), Host()
        self.hosts = self
        Path(self.place.host).touch()

    def __iter__(self) -> Iterator[Host]:
        return iter((self.first, self.other))

    def stop(self, why: str) -> None:
        assert not self.stopping
        self.stopping = True

    def names(self) -> list[str]:
        return sorted(name for name in os.listdir(self.place.directory) if name.startswith("host"))


@pytest.fixture
def idle(runtime: str) -> Idle:
    return Idle(runtime)


@pytest.fixture
def retirement(idle: Idle) -> Retirement:
    supervisor: Any = idle
    return Retirement(supervisor)


def answer(retirement: Retirement, host: Any, busy: bool) -> None:
    retirement.decide(host, busy)


def asked(retirement: Retirement) -> None:
    retirement.begin()
    retirement.expire(retirement.due)


def test_a_server_stops_when_each_host_has_said_that_nobody_is_there(idle: Idle, retirement: Retirement) -> None:
    asked(retirement)
    answer(retirement, idle.first, busy=False)
    assert not idle.stopping and idle.names() == ["host.sock~"]
    answer(retirement, idle.other, busy=False)
    assert idle.stopping and idle.names() == []


def test_an_answer_that_comes_late_ends_no_later_round(idle: Idle, retirement: Retirement) -> None:
    asked(retirement)
    answer(retirement, idle.first, busy=True)
    retirement.begin()
    answer(retirement, idle.other, busy=False)
    assert not idle.stopping and idle.names() == ["host.sock"]
    asked(retirement)
    assert (idle.first.questions, idle.other.questions) == (2, 2)
    answer(retirement, idle.other, busy=False)
    assert not idle.stopping
    answer(retirement, idle.first, busy=False)
    assert idle.stopping


def test_a_host_that_owes_an_answer_owes_it_no_more_when_it_is_dead(idle: Idle, retirement: Retirement) -> None:
    asked(retirement)
    answer(retirement, idle.first, busy=False)
    retirement.expire(time.monotonic() + 2 * PATIENCE)
    assert idle.names() == ["host.sock"]
    retirement.begin()
    assert idle.names() == ["host.sock"]
    idle.other.child = object()
    asked(retirement)
    answer(retirement, idle.first, busy=False)
    answer(retirement, idle.other, busy=False)
    assert idle.stopping


def test_a_host_that_could_not_be_asked_leaves_the_server_as_it_was(idle: Idle, retirement: Retirement) -> None:
    idle.other.child = None
    asked(retirement)
    assert not idle.stopping and idle.names() == ["host.sock"]
    answer(retirement, idle.first, busy=False)
    assert not idle.stopping


@pytest.mark.parametrize("late", [None, True, False])
def test_a_server_that_is_told_to_stop_meanwhile_leaves_no_name(
    late: bool | None, idle: Idle, retirement: Retirement
) -> None:
    asked(retirement)
    answer(retirement, idle.first, busy=False)
    idle.stopping = True
    if late is not None:
        answer(retirement, idle.other, late)
    retirement.expire(time.monotonic())
    assert idle.names() == []


def test_an_idle_server_ends_whose_socket_somebody_has_removed(runtime: str) -> None:
    with running_server(ECHO, runtime, "--idle-exit", "1", ready=False) as server:
        os.unlink(server.address)
        assert server.ends() == 0
        assert "no sessions for 1 s" in server.log
