"""The count of a host's calls, in the process that counts."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from sharedmodel.call import NEVER, Call
from sharedmodel.errors import Stuck
from sharedmodel.objects import Objects
from sharedmodel.server.metrics.meter import Meter, under_way
from sharedmodel.server.metrics.stages import STAGES


class Net:
    def run(self) -> None: ...

    def stop(self) -> None: ...


@pytest.fixture
def objects() -> Objects:
    found = Objects()
    found.announce("net", lambda: found.get("net"))
    found.publish("net", Net())
    return found


@pytest.fixture
def meter(objects: Objects) -> Meter:
    return Meter(objects, clock=lambda: 10.0)


def call(ident: Any = "net", method: str = "run", outcome: str = "", **times: Any) -> Call:
    made = Call(SimpleNamespace(), [1, 1, ident, method, [], {}, None, None], [], None)  # type: ignore[arg-type]
    made.taken, made.began, made.made, made.outcome = 9.0, 9.25, NEVER if outcome else 9.75, outcome
    for key, value in times.items():
        setattr(made, key, value)
    return made


def test_a_call_is_counted_by_model_method_and_outcome(meter: Meter) -> None:
    for method, outcome in [("run", ""), ("run", ""), ("run", "model"), ("stop", "")]:
        meter.ended(call(method=method, outcome=outcome))
    assert meter.told()["calls"] == [
        ["net", "run", "model", 1, 0],
        ["net", "run", "ok", 2, 0],
        ["net", "stop", "ok", 1, 0],
    ]


def test_the_stages_of_a_call_are_the_times_between_its_marks(meter: Meter) -> None:
    meter.ended(call())
    stages = meter.told()["stages"]["net"]
    assert {stage: stages[stage]["seconds"] for stage in STAGES} == {
        "wait": 0.25,
        "batch": 0.0,
        "infer": 0.5,
        "transfer": 0.25,
        "total": 1.0,
    }
    assert all(sum(stages[stage]["buckets"]) == 1 for stage in STAGES)


def test_calls_of_a_batch_are_one_run_and_tell_what_joining_them_took(meter: Meter) -> None:
    for outcome in ("", "", "model"):
        ended = call(outcome=outcome)
        ended.joined = (9.5, 3)
        meter.ended(ended)
    told = meter.told()
    seconds = {stage: told["stages"]["net"][stage]["seconds"] for stage in STAGES}
    assert seconds == {"wait": 0.75, "batch": 0.75, "infer": 1.0, "transfer": 0.5, "total": 3.0}
    assert told["runs"]["net"][:3] == [0, 0, 1] and sum(told["runs"]["net"]) == 1


def test_a_call_that_failed_in_its_method_has_no_transfer(meter: Meter) -> None:
    meter.ended(call(outcome="model", made=NEVER))
    stages = meter.told()["stages"]["net"]
    assert stages["infer"]["seconds"] == 0.75 and stages["transfer"]["seconds"] == 0.0


@pytest.mark.parametrize("outcome", ["overloaded", "deadline", "load-failed", "cancelled"])
def test_a_call_that_never_ran_is_a_refusal_and_has_no_stages(meter: Meter, outcome: str) -> None:
    meter.ended(call(outcome=outcome, began=0.0, made=NEVER))
    told = meter.told()
    assert told["calls"] == [["net", "run", outcome, 1, 1]]
    assert sum(told["stages"]["net"]["total"]["buckets"]) == 0


def test_a_call_whose_client_left_before_it_ran_was_cancelled(meter: Meter) -> None:
    meter.ended(call(began=0.0, made=NEVER))
    assert meter.told()["calls"] == [["net", "run", "cancelled", 1, 1]]


@pytest.mark.parametrize("outcome", ["", "model", "cancelled"])
def test_a_call_that_ends_after_its_deadline_came_to_nothing_else(meter: Meter, outcome: str) -> None:
    meter.ended(call(outcome=outcome, deadline=9.9))
    assert meter.told()["calls"] == [["net", "run", "deadline", 1, 0]]


def test_a_caller_that_gives_up_at_its_deadline_does_so_before_the_hosts_own(meter: Meter) -> None:
    meter.ended(call(deadline=10.01, cancelled=True))
    meter.ended(call(deadline=10.01))
    assert meter.told()["calls"] == [["net", "run", "deadline", 1, 0], ["net", "run", "ok", 1, 0]]


@pytest.mark.parametrize("outcome", ["", "model", "cancelled"])
def test_a_call_that_its_caller_gave_up_is_no_success_however_quick_it_was(meter: Meter, outcome: str) -> None:
    meter.ended(call(outcome=outcome, cancelled=True))
    meter.ended(call(outcome=outcome, cancelled=True, taken=9.7499, began=9.7499, made=9.75))
    assert meter.told()["calls"] == [["net", "run", "cancelled", 2, 0]]


def test_a_stuck_call_is_counted_as_stuck_though_it_was_told_to_stop(meter: Meter) -> None:
    meter.ended(call(outcome="stuck", cancelled=True, condemned=Stuck("it ran too long")))
    assert meter.told()["calls"] == [["net", "run", "stuck", 1, 0]]


def test_methods_that_clients_make_up_share_one_series(meter: Meter) -> None:
    for number in range(100):
        meter.ended(call(method=f"made_up_{number}", outcome="not-exposed"))
    assert meter.told()["calls"] == [["net", "?", "not-exposed", 100, 100]]


@pytest.mark.parametrize("ident", [0, "#models", "made up"])
def test_what_is_no_model_is_not_counted(meter: Meter, ident: Any) -> None:
    meter.ended(call(ident))
    assert meter.told() == {"calls": [], "stages": {}, "runs": {}}


def test_no_call_is_lost_between_threads_nor_with_threads_that_end(meter: Meter) -> None:
    def work() -> None:
        for _ in range(500):
            meter.ended(call())

    for _ in range(5):
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        meter.told()  # while they count
        for thread in threads:
            thread.join()
    assert meter.told()["calls"] == [["net", "run", "ok", 5 * 8 * 500, 0]]
    assert len(meter._threads) <= 1


def test_calls_under_way_wait_or_run(objects: Objects) -> None:
    calls = [call(), call(began=0.0), call(began=0.0), call("#models")]
    assert under_way(calls, objects) == {"net": {"waiting": 2, "running": 1}}
