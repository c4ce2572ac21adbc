"""The states of a model as a table: random events, carried out as a slot would, never break its promises."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sharedmodel.server.lifecycle import (
    ABSENT,
    BROKE,
    DRAINED,
    DRAINING,
    EVENTS,
    FAILED,
    LOADING,
    MADE,
    READY,
    RELOAD,
    RETRY_AFTER,
    RETRY_FIRST,
    RETRY_LAST,
    SICK,
    STATES,
    TABLE,
    UNLOAD,
    UNLOADED,
    WANT,
    WARM,
    WARMING,
    Impossible,
    Life,
    Step,
)
from sharedmodel.server.rounds import NEVER


class Host(RuleBasedStateMachine):
    """Loads, shows and lets go as it is told, and counts: objects that serve, loads under way, callers."""

    def __init__(self) -> None:
        super().__init__()
        self.life = Life()
        self.now = 0.0
        self.loads = 0
        self.serving = 0
        self.leaving = 0
        self.callers = 0

    def do(self, event: str) -> None:
        if event in (RELOAD, UNLOAD):
            self.loads = 0  # it is abandoned, and what comes of it is no event
        step = self.life.on(event, self.now, "as asked", self.now)
        assert not (step.load and self.loads), "two loads at once"
        self.loads += step.load
        if step.release:
            assert self.serving, "nothing there to let go of"
            self.serving -= 1
            self.leaving += 1
        if step.show:
            assert not self.serving, "two objects serve"
            self.serving += 1

    @rule()
    def a_call_comes(self) -> None:
        self.do(WANT)
        if not self.serving and self.life.state != FAILED:
            assert self.loads, "a caller waits for what nobody is loading"
            self.callers += 1

    @rule()
    def somebody_reloads(self) -> None:
        self.do(RELOAD)
        assert self.loads == 1

    @precondition(lambda self: self.life.stage == LOADING)
    @rule()
    def the_object_is_made(self) -> None:
        self.do(MADE)

    @precondition(lambda self: self.life.stage == WARMING)
    @rule()
    def its_canary_sings(self) -> None:
        self.loads -= 1
        self.do(WARM)
        assert self.serving == 1
        self.callers = 0

    @precondition(lambda self: self.loads)
    @rule()
    def the_load_breaks(self) -> None:
        self.loads -= 1
        self.do(BROKE)
        if not self.serving:
            self.callers = 0  # each is told why

    @rule()
    def somebody_unloads(self) -> None:
        self.do(UNLOAD)
        if self.callers:
            self.do(WANT)  # they are owed an object

    @precondition(lambda self: self.serving)
    @rule()
    def the_canary_falls_silent(self) -> None:
        self.do(SICK)
        assert self.loads == 1

    @precondition(lambda self: self.leaving)
    @rule()
    def the_last_call_leaves_an_object(self) -> None:
        self.leaving -= 1
        self.do(DRAINED)

    @rule()
    def time_passes(self) -> None:
        self.now += RETRY_AFTER

    @invariant()
    def the_state_is_what_there_is(self) -> None:
        life = self.life
        assert life.state in STATES
        assert life.flying == bool(self.loads) and life.leaving == self.leaving
        assert (life.state == READY) == bool(self.serving)
        assert life.state not in (LOADING, WARMING) or life.stage == life.state
        assert life.state != DRAINING or self.leaving
        assert not self.callers or self.loads, "a call is lost"
        assert life.history[-1].state == life.state


Host.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestAnyEvents = Host.TestCase


def test_each_state_answers_a_call_with_an_object_a_load_or_a_reason() -> None:
    for state in STATES:
        step = TABLE[state, WANT]
        assert step.load or step.state in (LOADING, WARMING, READY)


def test_each_event_and_state_of_the_table_is_one_that_there_is() -> None:
    assert {state for state, _ in TABLE} == set(STATES)
    assert {event for _, event in TABLE} == set(EVENTS)
    assert {step.state for step in TABLE.values()} | {ABSENT} == set(STATES)


@pytest.mark.parametrize("event", [MADE, WARM, BROKE, DRAINED, SICK])
def test_what_can_not_have_happened_is_refused(event: str) -> None:
    with pytest.raises(Impossible, match="while absent"):
        Life().on(event, 0.0)


def test_a_failed_load_is_not_tried_again_before_the_pause_but_a_reload_is() -> None:
    life = Life()
    life.on(WANT, 0.0)
    life.on(BROKE, 1.0)
    assert life.on(WANT, 1.0 + RETRY_AFTER / 2) == Step(FAILED)
    assert life.on(RELOAD, 1.0 + RETRY_AFTER / 2).load


def test_what_nobody_calls_is_tried_again_after_pauses_that_double_up_to_the_last() -> None:
    life, now, pauses = Life(), 0.0, []
    assert life.retry_at == NEVER
    for _ in range(8):
        life.on(WANT, now)
        assert life.retry_at == NEVER
        life.on(BROKE, now)
        pauses.append(life.retry_at - now)
        now = life.retry_at
    assert pauses[:3] == [RETRY_FIRST, 2 * RETRY_FIRST, 4 * RETRY_FIRST] and pauses[-2:] == [RETRY_LAST] * 2
    for event in (WANT, MADE, WARM, SICK, BROKE):
        life.on(event, now)
    assert life.retry_at - now == RETRY_FIRST


def test_a_model_is_unloaded_when_the_last_of_its_objects_is_gone() -> None:
    life = Life()
    for event in (WANT, MADE, WARM, RELOAD, MADE, WARM, UNLOAD):
        life.on(event, 0.0)
    assert (life.state, life.leaving) == (DRAINING, 2)
    assert life.on(DRAINED, 0.0).state == DRAINING
    assert life.on(DRAINED, 0.0).state == UNLOADED


def test_the_history_tells_when_and_why() -> None:
    life = Life(100.0)
    life.on(WANT, 0.0, "called", 101.0)
    life.on(MADE, 1.0, "", 102.0)
    told = life.describe()
    assert (told["state"], told["since"]) == (WARMING, 102.0)
    assert told["history"][:2] == [
        {"state": ABSENT, "at": 100.0, "why": ""},
        {"state": LOADING, "at": 101.0, "why": "called"},
    ]
