"""Loads within a budget: never over it, nothing unloaded that works or is kept, nothing unloaded in vain."""

from __future__ import annotations

from itertools import combinations
from typing import Any
from unittest.mock import ANY

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sharedmodel.errors import LoadFailed, NotEnoughMemory
from sharedmodel.failure import from_wire, to_wire
from sharedmodel.server.machine.governor import (
    Device,
    Load,
    MakeRoom,
    Model,
    Refuse,
    Request,
    Rules,
    Wait,
    admit,
    in_use,
    least_used,
    place,
)

RULES = Rules(patience=30, settle=1)
NOW = 100.0
amounts = st.integers(0, 120)
models = st.lists(
    st.builds(
        Model,
        name=st.sampled_from("abcdefgh"),
        taken=amounts,
        device=st.sampled_from(["cpu", "cpu", "cuda:0"]),
        loading=st.sampled_from([False, False, True]),
        running=st.sampled_from([0, 0, 2]),
        keep=st.sampled_from([False, False, True]),
        used=st.floats(0, NOW),
        host=st.sampled_from([None, None, 1]),
    ),
    max_size=7,
    unique_by=lambda model: model.name,
)
requests = st.builds(Request, name=st.sampled_from("abxyz"), need=amounts, since=st.floats(60, NOW))
devices = st.builds(Device, name=st.just("cpu"), budget=amounts, in_use=amounts)


def coming(model: Model, request: Request) -> bool:
    """Whether that is the load that asks."""
    return model.loading and model.name == request.name and model.host is None


def ask(need: int, *loaded: Model, budget: int = 100, used: int = 0, now: float = NOW, since: float = NOW) -> Any:
    return admit(Request("new", need, since), Device("cpu", budget, used), loaded, now, RULES)


def test_a_load_that_fits_goes_on() -> None:
    assert ask(100) == Load()
    assert ask(60, Model("a", 40)) == Load()
    assert ask(60, Model("a", 999, device="cuda:0")) == Load()


def test_what_was_measured_counts_where_it_is_more_than_what_is_known() -> None:
    assert isinstance(ask(60, used=50), Refuse)
    assert ask(60, Model("a", 30), used=50) == MakeRoom(("a",))


def test_the_longest_unused_make_room_and_none_in_vain() -> None:
    a, b, c = Model("a", 20, used=1), Model("b", 20, used=2), Model("c", 40, used=3)
    assert ask(40, a, b, c) == MakeRoom(("a",))
    assert ask(60, a, b, c) == MakeRoom(("a", "b"))
    assert ask(61, a, b, c) == MakeRoom(("a", "c"))
    assert ask(100, a, b, c) == MakeRoom(("a", "b", "c"))


def test_a_model_in_use_is_waited_for_as_long_as_patience_lasts() -> None:
    busy = Model("a", 60, running=1)
    assert ask(60, busy) == Wait(("a",), NOW + 30)
    assert ask(60, busy, now=NOW + 29) == Wait(("a",), NOW + 30)
    refused = ask(60, busy, now=NOW + 30)
    assert isinstance(refused, Refuse) and "waited for a, which stayed busy" in str(refused.error)


def test_a_model_just_loaded_is_left_alone_for_a_moment() -> None:
    fresh = Model("a", 60, used=NOW - 0.25)
    assert ask(60, fresh) == Wait(("a",), NOW + 0.75)
    assert ask(60, fresh, now=NOW + 0.75) == MakeRoom(("a",))


def test_a_load_under_way_is_room_that_is_gone() -> None:
    assert ask(60, Model("a", 60, loading=True)) == Wait(("a",), NOW + 30)
    assert ask(40, Model("a", 60, loading=True)) == Load()
    assert ask(50, Model("a", 60, loading=True, keep=True), used=20) == Refuse(ANY)
    assert ask(40, Model("a", 60, loading=True, keep=True), used=20) == Wait(("a",), NOW + 30)


def test_a_load_does_not_count_itself_nor_unload_the_copy_it_replaces() -> None:
    assert ask(60, Model("new", 60, loading=True)) == Load()
    assert ask(60, Model("new", 60)) == Refuse(ANY)
    assert ask(60, Model("new", 30), Model("a", 30)) == MakeRoom(("a",))


def test_a_kept_model_is_never_unloaded() -> None:
    assert ask(60, Model("a", 60, keep=True), Model("b", 10)) == Refuse(ANY)


def test_a_refusal_gives_the_numbers() -> None:
    error = ask(90_000_000, Model("a", 40_000_000, keep=True), Model("b", 20_000_000), budget=100_000_000).error
    assert (error.needed, error.in_use, error.budget, error.freeable) == (
        90_000_000,
        60_000_000,
        100_000_000,
        20_000_000,
    )
    assert str(error) == (
        "model 'new' needs 90 MB on cpu, where 60 MB of the budget of 100 MB are in use;"
        " unloading b would free 20 MB, too little: serve fewer models, or raise the limit"
    )
    assert "nothing could be unloaded" in str(ask(101).error)


def test_a_refusal_crosses_with_its_numbers() -> None:
    error = ask(101).error
    there = from_wire(to_wire(error))
    assert isinstance(there, NotEnoughMemory) and isinstance(there, LoadFailed)
    assert (str(there), there.needed, there.budget) == (str(error), 101, 100)


@given(requests, devices, models)
def test_a_load_never_goes_over_the_budget(request: Request, device: Device, loaded: list[Model]) -> None:
    if admit(request, device, loaded, NOW, RULES) == Load():
        others = [m for m in loaded if m.device == "cpu" and not coming(m, request)]
        assert in_use(device, others) + request.need <= device.budget or request.need == 0


@given(requests, devices, models)
def test_room_is_made_of_idle_models_only_and_of_no_more_than_it_takes(
    request: Request, device: Device, loaded: list[Model]
) -> None:
    decision = admit(request, device, loaded, NOW, RULES)
    if not isinstance(decision, MakeRoom):
        return
    here = {m.name: m for m in loaded if m.device == "cpu" and not coming(m, request)}
    gone = [*(here[name] for name in decision.unload), *decision.ask]
    assert [m.host for m in gone] == [None] * len(decision.unload) + [1] * len(decision.ask)
    assert not any(m.running or m.keep or m.loading or m.name == request.name or m.used > NOW - 1 for m in gone)
    missing = request.need - device.budget + in_use(device, here.values())
    assert sum(m.taken for m in gone) >= missing > 0
    for fewer in combinations(gone, len(gone) - 1):
        assert sum(m.taken for m in fewer) < missing


@given(requests, devices, models)
def test_a_wait_is_for_somebody_and_ends(request: Request, device: Device, loaded: list[Model]) -> None:
    decision = admit(request, device, loaded, NOW, RULES)
    if isinstance(decision, Wait):
        assert decision.waits_for and NOW < decision.until <= request.since + RULES.patience
    assert not isinstance(admit(request, device, loaded, request.since + RULES.patience, RULES), Wait)


@given(requests, devices, models)
def test_what_fits_into_an_empty_device_is_refused_only_for_what_stays(
    request: Request, device: Device, loaded: list[Model]
) -> None:
    decision = admit(request._replace(since=NOW), device, loaded, NOW, RULES)
    if isinstance(decision, Refuse):
        error = decision.error
        assert error.needed + error.in_use - error.freeable > error.budget
        assert error.budget == device.budget and error.needed == request.need


@given(requests, devices, models, st.randoms())
def test_the_decision_does_not_depend_on_the_order_of_the_models(
    request: Request, device: Device, loaded: list[Model], random: Any
) -> None:
    def told(decision: Any) -> Any:
        return decision.error.args if isinstance(decision, Refuse) else decision

    shuffled = random.sample(loaded, len(loaded))
    assert told(admit(request, device, loaded, NOW)) == told(admit(request, device, shuffled, NOW))


@given(
    st.lists(st.builds(Model, name=st.uuids().map(str), taken=amounts, used=amounts, host=st.none())),
    st.integers(1, 300),
)
def test_what_is_chosen_is_enough_or_nothing_is(loaded: list[Model], missing: int) -> None:
    chosen = least_used(loaded, missing)
    freed = sum(model.taken for model in chosen or ())
    assert (chosen is None) == (sum(model.taken for model in loaded) < missing)
    assert chosen is None or freed >= missing


def test_a_model_goes_where_there_is_most_room() -> None:
    gpus = [Device("cuda:0", 80, 30), Device("cuda:1", 80, 10), Device("cuda:2", 80, 10)]
    assert place(Request("new", 40, NOW), gpus, [], NOW) == ("cuda:1", Load())


def test_a_model_goes_where_it_fits_before_another_is_unloaded_for_it() -> None:
    gpus = [Device("cuda:0", 80, 75), Device("cuda:1", 24, 0)]
    loaded = [Model("a", 75, device="cuda:0")]
    assert place(Request("new", 20, NOW), gpus, loaded, NOW) == ("cuda:1", Load())
    assert place(Request("new", 40, NOW), gpus, loaded, NOW) == ("cuda:0", MakeRoom(("a",)))
    name, decision = place(Request("new", 90, NOW), gpus, loaded, NOW)
    assert name == "cuda:1" and isinstance(decision, Refuse)


class Machine(RuleBasedStateMachine):
    """A host that does as it is told, with calls and loads that come and go."""

    budget = 100

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.models: dict[str, Model] = {}
        self.since: dict[str, float] = {}

    @rule(seconds=st.floats(0.01, 20))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(name=st.sampled_from("abcdef"), need=st.integers(1, 110), keep=st.booleans())
    def load(self, name: str, need: int, keep: bool) -> None:
        if name not in self.models:
            self.ask(name, need, keep)

    def ask(self, name: str, need: int, keep: bool) -> None:
        used = sum(model.taken for model in self.models.values() if not model.loading)
        request = Request(name, need, self.since.setdefault(name, self.now))
        decision = admit(request, Device("cpu", self.budget, used), self.models.values(), self.now)
        if isinstance(decision, MakeRoom):
            for other in decision.unload:
                gone = self.models.pop(other)
                assert not (gone.running or gone.keep or gone.loading)
            self.ask(name, need, keep)
            return
        if decision == Load():
            self.models[name] = Model(name, need, loading=True, keep=keep and need < 30, used=self.now)
        if not isinstance(decision, Wait):
            del self.since[name]

    @precondition(lambda self: self.models)
    @rule(data=st.data(), running=st.integers(0, 2))
    def something_happens_to_a_model(self, data: st.DataObject, running: int) -> None:
        model = self.models[data.draw(st.sampled_from(sorted(self.models)))]
        self.models[model.name] = model._replace(loading=False, running=running, used=self.now)

    @invariant()
    def the_budget_holds(self) -> None:
        assert sum(model.taken for model in self.models.values()) <= self.budget


TestMachine = Machine.TestCase
