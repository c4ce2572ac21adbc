"""Calls of sessions as jobs: run, batched, given up and failed, and forgotten by whom they passed."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from sharedmodel import reply
from sharedmodel.call import NEVER, Call
from sharedmodel.errors import Cancelled, DeadlineExceeded, NotExposed, Overloaded
from sharedmodel.objects import Objects, Served
from sharedmodel.server.scheduling.batching import Measure, Request, each_alone, serving_all
from sharedmodel.server.scheduling.calls import CallJob, Schedule
from sharedmodel.server.scheduling.lanes import Lanes
from sharedmodel.server.scheduling.settings import Scheduling


class FakePeer:
    """A session that notes its answers."""

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
