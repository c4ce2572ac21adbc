"""What the hosts of one server tell each other: whole, of the living only, and no two decide at once."""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedmodel.errors import NotEnoughMemory
from sharedmodel.server.machine import neighbours
from sharedmodel.server.machine.governor import Model

from .hoards import Hoard, House, Member, left_alone, members
from .servers import until

models = st.builds(
    Model,
    name=st.text(max_size=40),
    taken=st.integers(0, 1 << 45),
    device=st.sampled_from(["cpu", "cuda:0"]),
    loading=st.booleans(),
    running=st.integers(0, 9),
    keep=st.booleans(),
    used=st.floats(0, 1e9),
)
HOLDER = """
import sys, time
from sharedmodel.server.machine.neighbours import _FEW, Neighbours
with Neighbours(int(sys.argv[1]), 1).turn():
    print("mine", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def member() -> Iterator[Member]:
    """Makes a host's end, by its number."""
    with members() as made:
        yield made


@given(st.lists(models, max_size=30), st.lists(models, max_size=30))
def test_others_read_what_a_host_has_told_last_and_nothing_of_their_own(
    first: list[Model], second: list[Model]
) -> None:
    with members() as member:
        one, other = member(0), member(3)
        for told in (first, second):
            one.tell(told)
            assert other.models() == [model._replace(host=0) for model in told] and one.models() == []
            assert not one.differ(told)
        one.clear()
        assert other.models() == []


def test_more_models_than_there_is_room_for_are_told_as_their_sums(member: Member) -> None:
    one, other = member(0), member(1)
    crowd = [Model(f"m{at}", at, loading=at % 2 == 0, device=("cpu", "cuda:0")[at % 3 == 0]) for at in range(2000)]
    one.tell(crowd)
    told = other.models()
    assert len(told) == 4 and all(model.keep for model in told)
    for model in told:
        same = [each.taken for each in crowd if (each.device, each.loading) == (model.device, model.loading)]
        assert model.taken == sum(same)


def test_what_is_told_stays_in_its_own_place_however_long_names_are(member: Member) -> None:
    one, two, three = member(0), member(1), member(2)
    two.tell([Model("two", 7)])
    asked = [Model("x" * 1500 + str(number), 1, host=1, used=1.0) for number in range(neighbours._FEW)]
    one.tell([Model("y" * 1500 + str(number), 1) for number in range(neighbours._FEW)])
    one.ask("load", asked, "why")
    assert [(model.name, model.taken) for model in three.models()] == [("others", neighbours._FEW), ("two", 7)]
    assert set(two.asked()) < {model.name for model in asked} and two.asked()


def test_what_is_read_is_whole_however_often_it_is_told_anew(member: Member) -> None:
    one, other, over = member(0), member(1), threading.Event()

    def write() -> None:
        at = 0
        while not over.is_set():
            at += 1
            one.tell([Model(f"m{at}", at)] * (1 + at % 50))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(3000):
            told = other.models()
            assert len(set(told)) <= 1 and (not told or len(told) == 1 + told[0].taken % 50)
    finally:
        over.set()
        writer.join()


def test_when_a_model_was_used_is_not_told_after_each_call(member: Member) -> None:
    one = member(0)
    one.tell([Model("a", 1, used=100.0)])
    assert not one.differ([Model("a", 1, used=104.0)])
    assert one.differ([Model("a", 1, used=105.0)]) and one.differ([Model("a", 1, used=100.0, running=1)])


def test_an_ask_is_heard_by_whom_it_is_for_until_it_is_taken_back(member: Member) -> None:
    one, other, third = member(0), member(1), member(2)
    one.tell([Model("mine", 1)])
    one.ask("a load", [Model("a", 5, used=7.5, host=1), Model("b", 5, host=2)], "to make room for c")
    assert other.asked() == {"a": (7.5, "to make room for c")} and third.asked() == {"b": (0, "to make room for c")}
    assert [model.name for model in other.models()] == ["mine"] and one.asked() == {}
    one.ask("another", [Model("a", 5, host=1)], "to make room for d")
    one.ask("a load", [])
    assert other.asked() == {"a": (0, "to make room for d")} and third.asked() == {}
    one.ask("another", [])
    assert other.asked() == {}


@pytest.fixture
def holder() -> Iterator[Callable[[int], subprocess.Popen[str]]]:
    """Another process, which has the lock and keeps it."""
    with ExitStack() as stack:

        def begun(fd: int) -> subprocess.Popen[str]:
            command = [sys.executable, "-c", HOLDER, str(fd)]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, pass_fds=[fd])
            stack.enter_context(process)
            stack.callback(process.kill)
            assert process.stdout is not None and process.stdout.readline() == "mine\n"
            return process

        yield begun


def test_only_one_host_at_a_time_decides_and_its_death_lets_the_next(
    member: Member, holder: Callable[[int], subprocess.Popen[str]]
) -> None:
    one = member(0)
    process = holder(one.fd)
    entered = threading.Event()

    def decide() -> None:
        with one.turn():
            entered.set()

    waits = threading.Thread(target=decide)
    waits.start()
    with pytest.raises(BlockingIOError):
        fcntl.lockf(one.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert not entered.is_set()
    process.send_signal(signal.SIGKILL)
    waits.join(20)
    assert entered.is_set()


def test_a_host_that_is_stopped_while_it_decides_does_not_stop_the_others(
    member: Member, holder: Callable[[int], subprocess.Popen[str]],
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr(neighbours, "_PATIENCE", 0.05)
    one = member(0)
    process = holder(one.fd)
    process.send_signal(signal.SIGSTOP)
    for _ in range(2):
        with one.turn():
            pass
    assert len([line for line in caplog.messages if "go on without it" in line]) == 1


# -- hosts that share them ---------------------------------------------------------------------------


@pytest.fixture
def houses(member: Member) -> Iterator[tuple[House, House]]:
    """Two hosts of one server, whose arbiters look around."""
    with left_alone():
        with ThreadPoolExecutor(4) as pool:
            both = House(pool, member(0)), House(pool, member(1))
            for house in both:
                house.table.arbiter.start()
            yield both
        for house in both:
            house.table.arbiter.stop()


def test_a_load_has_an_idle_model_of_another_host_go(houses: tuple[House, House]) -> None:
    here, there = houses
    there.add("a", 60)
    here.add("b", 60)
    there.load("a")
    here.load("b")
    until(lambda: there.states() == {"a": "unloaded"}, lambda: str(there.states()))
    assert "to make room for b" in there.table.state("a")["why"]
    assert here.states() == {"b": "ready"} and Hoard.held == 60
    here.ahead += 2
    there.load("a")
    assert here.states() == {"b": "unloaded"} and there.states() == {"a": "ready"}


def test_the_least_recently_used_goes_whichever_host_has_it(houses: tuple[House, House]) -> None:
    here, there = houses
    here.add("a", 30)
    there.add("b", 30)
    here.add("c", 60)
    here.load("a")
    there.ahead = here.ahead
    there.load("b")
    here.ahead = there.ahead = there.ahead + 10
    here.call("a")
    here.ahead = there.ahead = there.ahead + 10
    others = here.table.arbiter._neighbours
    until(lambda: [model.running for model in others.models()] == [0], lambda: str(others.models()))
    here.load("c")
    assert here.states() == {"a": "ready", "c": "ready"} and there.states() == {"b": "unloaded"}


def test_a_model_that_was_used_since_others_saw_it_stays(houses: tuple[House, House]) -> None:
    here, there = houses
    there.add("a", 30)
    here.add("b", 30)
    here.add("c", 60)
    there.load("a")
    here.load("b")
    here.ahead = there.ahead = there.ahead + 2
    others = here.table.arbiter._neighbours
    until(lambda: [model.running for model in others.models()] == [0], lambda: str(others.models()))
    there.call("a")  # which nobody is told of at once
    here.ahead = there.ahead = there.ahead + 2
    here.load("c")
    assert here.states() == {"b": "unloaded", "c": "ready"} and there.states() == {"a": "ready"}


def test_a_model_of_another_host_that_works_or_is_kept_stays(houses: tuple[House, House]) -> None:
    here, there = houses
    there.add("a", 60)
    there.add("kept", 20, keep=True)
    here.add("b", 60)
    there.load("kept", "a")
    held = there.busy("a")
    here.ahead = there.ahead
    begun = here.loading("b")
    here.waits(begun)
    here.ahead += 31
    with pytest.raises(Exception, match="it waited for a, which stayed busy") as raised:
        begun.result(20)
    assert isinstance(raised.value.__cause__ or raised.value, NotEnoughMemory)
    there.obj("a").leave.set()
    assert held.result(20) == 60
    assert there.states() == {"a": "ready", "kept": "ready"}


def test_a_load_waits_for_one_of_another_host_that_has_only_begun(houses: tuple[House, House]) -> None:
    here, there = houses
    here.add("b", 60)
    there.add("slow", 60)
    Hoard.gate.clear()
    try:
        first = there.loading("slow")
        until(lambda: bool(there.table.arbiter._accounts.coming()), lambda: str(there.states()))
        second = here.loading("b")
        here.waits(second)
        assert Hoard.held == 0
    finally:
        Hoard.gate.set()
    first.result(20)
    here.ahead += 2
    there.ahead += 2
    second.result(20)
    assert Hoard.held == 60 and there.states() == {"slow": "unloaded"}


def test_what_a_dead_host_had_is_in_nobodys_way(houses: tuple[House, House], member: Member) -> None:
    here, _ = houses
    here.add("b", 60)
    gone = member(2)
    gone.tell([Model("a", 90, loading=True)])
    begun = here.loading("b")
    here.waits(begun)
    gone.clear()
    begun.result(20)
    assert here.states() == {"b": "ready"}
