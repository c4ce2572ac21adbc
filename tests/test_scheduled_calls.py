"""Calls of sessions as jobs: run, batched, given up and failed, and forgotten by whom they passed."""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sharedmodel import reply
from sharedmodel.call import NEVER, Call
from sharedmodel.errors import Cancelled, DeadlineExceeded, LoadFailed, NotExposed, Overloaded
from sharedmodel.objects import Objects, Served
from sharedmodel.server.journal import Journal
from sharedmodel.server.lease import Leased
from sharedmodel.server.scheduling.batching import Measure, Request, each_alone, serving_all
from sharedmodel.server.scheduling.calls import CallJob, Schedule
from sharedmodel.server.scheduling.lanes import Lanes
from sharedmodel.server.scheduling.settings import Scheduling
from sharedmodel.server.settings import ModelSettings
from sharedmodel.server.table import Table
from sharedmodel.server.timetable import Lent
from sharedmodel.server.watch import Guard, Run

from .hoards import Hoard, left_alone
from .servers import until


class FakePeer:
    """A session that notes its answers."""

    number = 1

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.answers: dict[int, Any] = {}
        self.calls = 0
        self.closed = False

    def call(self, method: str, *args: Any, timeout: float | None = None) -> Call:
        self.calls += 1
        return Call(self, [0, self.calls, "model", method, list(args), {}, timeout, None], [], None)  # type: ignore[arg-type]

    def packed(self, call: Call, value: Any) -> Any:
        if isinstance(value, bytearray):
            raise TypeError("does not cross")
        return value

    def answer(self, call: Call, data: Any) -> None:
        assert call.rid not in self.answers
        self.answers[call.rid] = data

    fail = answer

    def patiently(self, task: Callable[[], Any]) -> None:
        threading.Thread(target=task).start()


class Model:
    """Adds up what it is given; ``during`` is done once, while it runs."""

    def __init__(self) -> None:
        self.during: list[Any] = []
        self.sizes: list[int] = []
        self.seen: list[Any] = []

    def total(self, number: int) -> Any:
        self.seen.append(reply.current.call)
        while self.during:
            self.during.pop()()
        return bytearray() if number == 13 else number + 1

    def other(self) -> str:
        return "other"

    def measure(self, method: str, args: Sequence[Any], kwargs: Any) -> Measure | None:
        return Measure("k") if method == "total" and args != [0] else None

    def run(self, requests: Sequence[Request]) -> list[Any]:
        self.sizes.append(len(requests))
        self.seen += [request.serving for request in requests]
        return [self.total(*request.args) if request.args != [99] else ValueError("99") for request in requests]


class Watching:
    """Sees which calls are executing."""

    def __init__(self) -> None:
        self.inside: set[int] = set()
        self.most = 0

    def entered(self, call: Call) -> int:
        self.inside.add(id(call))
        self.most = max(self.most, len(self.inside))
        return id(call)

    def left(self, token: int) -> None:
        self.inside.remove(token)


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def served(model: Model) -> Served:
    served = Objects().publish("model", model, exposed=["total", "other"])
    served.watch = Watching()
    return served


@pytest.fixture
def schedule(model: Model, served: Served) -> Schedule:
    return Schedule(served, Lanes("model", Scheduling(max_batch=4, queue=3), model), ["total"], model)


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def admit(schedule: Schedule, call: Call) -> float | None:
    turn = schedule.admit(call)
    return None if turn is None else turn.work()


def test_an_idle_model_answers_at_once_and_tells_how_long_it_took(schedule: Schedule, model: Model) -> None:
    peer = FakePeer()
    turn = schedule.admit(peer.call("total", 1))
    assert turn is not None and turn.at_once and not peer.answers
    assert turn.work() > 0 and peer.answers == {1: 2} and model.sizes == []
    assert schedule.methods == {"total"}


def test_calls_that_come_meanwhile_run_together_each_answered_to_its_own_session(
    schedule: Schedule, model: Model, served: Served
) -> None:
    peers = [FakePeer() for _ in range(4)]
    calls = [peer.call("total", number) for number, peer in zip((10, 99, 13, 0), peers, strict=True)]
    model.during.append(lambda: [admit(schedule, call) for call in calls[:3]])
    assert admit(schedule, calls[3]) is not None
    assert peers[3].answers == {1: 1} and peers[0].answers == {1: 11}
    assert isinstance(peers[1].answers[1], ValueError) and isinstance(peers[2].answers[1], TypeError)
    assert model.sizes == [3] and calls[0] in model.seen
    assert isinstance(served.watch, Watching) and served.watch.most == 3 and not served.watch.inside
    assert all(call.args == () for call in calls)


def test_who_gives_up_while_its_call_waits_is_answered_and_its_call_never_runs(
    schedule: Schedule, model: Model
) -> None:
    peer = FakePeer()
    gone, late = peer.call("total", 1), peer.call("total", 2, timeout=0.0)

    def meanwhile() -> None:
        admit(schedule, gone)
        admit(schedule, late)
        gone.cancel()
        assert isinstance(peer.answers[1], Cancelled)

    model.during.append(meanwhile)
    admit(schedule, peer.call("total", 3))
    assert isinstance(peer.answers[2], DeadlineExceeded) and peer.answers[3] == 4
    assert len(model.seen) == 1


def test_a_full_queue_refuses(schedule: Schedule, model: Model) -> None:
    peer = FakePeer()
    model.during.append(lambda: [admit(schedule, peer.call("total", 5)) for _ in range(4)])
    admit(schedule, peer.call("total", 1))
    assert isinstance(peer.answers[5], Overloaded) and sum(answer == 6 for answer in peer.answers.values()) == 3


def test_what_is_not_exposed_or_came_in_wrong_runs_alone_into_its_own_error(served: Served, model: Model) -> None:
    peer = FakePeer()
    job = CallJob(peer.call("measure", 1), served, model)
    wrong = peer.call("total", 1)
    wrong.problem = TypeError("an argument that could not be read")
    assert job.key is None and CallJob(wrong, served, model).key is None
    assert CallJob(peer.call("total", 1), served, model).key == "k"
    assert CallJob(peer.call("total", 1), served).key is None
    job.run()
    assert isinstance(peer.answers[1], NotExposed)


def test_results_that_become_proxies_are_not_batched(served: Served, model: Model) -> None:
    served.method_to_typeid = {"total": "Total"}
    assert CallJob(FakePeer().call("total", 1), served, model).key is None


def test_a_job_that_began_before_it_was_told_to_wait_listens_to_nobody(served: Served) -> None:
    call = FakePeer().call("total", 1)
    job = CallJob(call, served)
    job.run()
    job.queued(lambda: None)
    assert call.withdraw is None


@pytest.mark.usefixtures("no_collector")
def test_a_call_that_waited_is_gone_with_its_answer(schedule: Schedule, model: Model) -> None:
    peer, refs = FakePeer(), []

    def meanwhile() -> None:
        for number in (1, 2, 0):
            job = CallJob(peer.call("total", number), schedule._served, model)
            refs.append(weakref.ref(job))
            assert schedule.lanes.admit(job) is None

    model.during.append(meanwhile)
    admit(schedule, peer.call("total", 1))
    model.seen.clear()
    assert len(peer.answers) == 4 and [ref() for ref in refs] == [None] * 3


def test_a_call_tells_when_it_joined_others_and_when_their_run_was_over() -> None:
    calls = [FakePeer().call("total", number) for number in range(3)]
    requests = [Request("total", [1], {}, call) for call in calls]
    with serving_all(requests):
        assert all(call.made == NEVER for call in calls)
    for call in calls:
        assert call.joined is not None and call.joined[1] == 3
        assert call.taken <= call.joined[0] <= call.made < NEVER


def test_a_call_whose_batch_came_to_nothing_tells_the_times_of_its_run_alone() -> None:
    call = FakePeer().call("total", 1)
    request = Request("total", [1], {}, call)
    with serving_all([request, request]):
        pass
    before = call.made
    assert each_alone([request], lambda request: 1) == [1]
    assert call.joined is None and before <= call.began <= call.made < NEVER


def test_only_the_call_whose_turn_it_is_to_run_alone_is_seen_to_run() -> None:
    fd = Journal.create()
    journal = Journal(fd)
    watch = Guard(journal, alone=False).watch("model", 1.0)
    calls = [FakePeer().call("total", number) for number in range(3)]
    entered = [watch.entered(call) for call in calls]
    seen = []

    def running() -> list[bool]:
        return [run.ran(time.monotonic() + 60) > 60 for run in entered if isinstance(run, Run)]

    def run(request: Request) -> None:
        seen.append(running())
        if len(seen) == 1:
            raise ValueError("as asked")

    assert running() == [True, True, True]  # as a batch
    each_alone([Request("total", [], {}, call) for call in calls], run)
    assert seen == [[True, False, False], [False, True, False], [False, False, True]]
    assert running() == [False, False, False]
    for token in entered:
        watch.left(token)
    journal.close()
    os.close(fd)


def test_a_call_that_ends_in_the_moment_in_which_it_would_be_given_up_has_ended() -> None:
    fd = Journal.create()
    journal = Journal(fd)
    guard, stuck = Guard(journal, alone=False), list[str]()
    watch = guard.watch("model", 1.0)
    for leaves in (True, False):
        run = watch.entered(FakePeer().call("total", 1))
        assert isinstance(run, Run)
        guard._examine(run, time.monotonic() + 60, stuck.append)
        assert run.told and not stuck
        if leaves:
            watch.left(run)
        guard._examine(run, time.monotonic() + 60, stuck.append)
        assert bool(stuck) != leaves
    watch.left(run)
    journal.close()
    os.close(fd)


class Hoards:
    """A model of one lane in a table, and the calls that it executes."""

    def __init__(self) -> None:
        self.watch, self.peer, self.objects = Watching(), FakePeer(), Objects()
        self.table = Table(self.objects, watch=lambda name, max_run: self.watch)
        alone = Scheduling(lanes=1)
        self.table.add("m", ModelSettings(factory="tests.hoards:Hoard", args=[7], scheduling=alone))
        self.table.load("m")

    @property
    def served(self) -> Any:
        return self.objects.published("m")

    def answered(self, number: int) -> None:
        until(lambda: number in self.peer.answers, lambda: str(self.peer.answers))
        assert self.peer.answers[number] == 7


@pytest.fixture
def hoards() -> Iterator[Hoards]:
    with left_alone():
        yield Hoards()


def test_a_call_that_waits_as_its_object_is_replaced_has_a_lane_of_the_next_one(hoards: Hoards) -> None:
    old, peer = hoards.served, hoards.peer
    with ThreadPoolExecutor() as pool:
        pool.submit(admit, old.schedule, peer.call("wait"))
        assert old.obj.inside.wait(20)
        assert admit(old.schedule, peer.call("wait")) is None
        hoards.table.reload("m")
        new = hoards.served
        assert new is not old and new.obj.inside.wait(20)  # beside the one that the old object is still at
        admit(new.schedule, peer.call("touch"))
        admit(old.schedule, peer.call("touch"))  # who was late
        until(lambda: new.schedule.lanes.counts().waiting == 2, lambda: str(peer.answers))
        assert not peer.answers
        new.obj.leave.set()
        for number in (2, 3, 4):
            hoards.answered(number)
        old.obj.leave.set()
    hoards.answered(1)


def test_a_call_that_waits_as_its_object_is_unloaded_is_not_executing_while_the_next_one_loads(hoards: Hoards) -> None:
    served, peer = hoards.served, hoards.peer
    with ThreadPoolExecutor() as pool:
        pool.submit(admit, served.schedule, peer.call("wait"))
        assert served.obj.inside.wait(20)
        assert admit(served.schedule, peer.call("touch")) is None
        Hoard.gate.clear()
        try:
            unloading = pool.submit(hoards.table.unload, "m")
            until(lambda: hoards.table.state("m")["state"] == "loading", lambda: str(hoards.table.states()))
            served.obj.leave.set()
            unloading.result(20)
            assert not hoards.watch.inside and 2 not in peer.answers
        finally:
            Hoard.gate.set()
    hoards.answered(2)
    assert hoards.watch.most == 1


def test_a_batch_that_comes_too_late_for_its_object_runs_as_one_on_the_next(model: Model) -> None:
    def scheduled(model: Model) -> tuple[Leased, Schedule]:
        leased = Leased("model", "model", model, ["total"])
        lanes = Lanes("model", Scheduling(max_batch=4), model, lease=Lent(leased))
        leased.schedule = schedule = Schedule(leased, lanes, ["total"], model)
        return leased, schedule

    (old, schedule), (new, _), peer = scheduled(model), scheduled(after := Model()), FakePeer()
    old.successor = lambda: new
    model.during += [old.retire, lambda: [admit(schedule, peer.call("total", number)) for number in (1, 2, 3)]]
    admit(schedule, peer.call("total", 0))
    until(lambda: len(peer.answers) == 4, lambda: str(peer.answers))
    assert peer.answers == {1: 1, 2: 2, 3: 3, 4: 4} and after.sizes == [3] and not model.sizes


def test_calls_whose_next_object_can_not_be_loaded_are_told(hoards: Hoards) -> None:
    served, peer = hoards.served, hoards.peer
    with ThreadPoolExecutor() as pool:
        pool.submit(admit, served.schedule, peer.call("wait"))
        assert served.obj.inside.wait(20)
        assert admit(served.schedule, peer.call("touch")) is None
        hoards.table._wards["m"].settings = ModelSettings(factory="tests.hoards:none")
        unloading = pool.submit(hoards.table.unload, "m")
        until(lambda: 2 in peer.answers, lambda: str(peer.answers))
        served.obj.leave.set()
        unloading.result(20)
    assert isinstance(peer.answers[2], LoadFailed)
