"""Models that are taken out of a host, put back and changed while they do something; and news that can't be told."""

from __future__ import annotations

import dataclasses
import logging
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from sharedmodel.errors import LoadFailed, UnknownObject
from sharedmodel.objects import Objects
from sharedmodel.server import messages, table
from sharedmodel.server.lifecycle import RETRY_FIRST
from sharedmodel.server.loads import loads
from sharedmodel.server.report import Reporter
from sharedmodel.server.setback import MOST
from sharedmodel.server.settings import ModelSettings, Upkeep
from sharedmodel.server.table import Table

from .hoards import Hoard, left_alone
from .servers import until


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def unprintable() -> None:
    raise Unprintable


def speechless() -> None:
    raise MemoryError


def wordy() -> None:
    raise ValueError("x" * 5_000_000)


def hoard(size: int, **upkeep: Any) -> ModelSettings:
    return ModelSettings(factory="tests.hoards:Hoard", args=[size], upkeep=Upkeep(**upkeep))


@pytest.fixture
def objects() -> Iterator[Objects]:
    with left_alone():
        yield Objects()


@contextmanager
def slow_loads() -> Iterator[None]:
    """Nothing is loaded to its end within."""
    Hoard.gate.clear()
    try:
        yield
    finally:
        Hoard.gate.set()


def loading(models: Table, name: str) -> bool:
    return bool(models.state(name)["state"] == "loading")


def test_a_model_that_is_taken_out_is_closed(objects: Objects) -> None:
    models = Table(objects)
    models.apply({"m": hoard(5), "n": hoard(3)})
    models.load("m")
    models.load("n")
    models.apply({"n": hoard(3)})
    until(lambda: Hoard.held == 3, lambda: f"{Hoard.held} are held")
    assert objects.published("m") is None


def test_one_that_was_taken_out_while_it_loaded_is_not_served_in_the_place_of_the_next(objects: Objects) -> None:
    models = Table(objects)
    with slow_loads():
        models.apply({"m": hoard(1)})
        until(lambda: loading(models, "m"), lambda: str(models.states()))
        models.apply({})
        models.apply({"m": hoard(2)})
    models.load("m")
    until(lambda: Hoard.held == 2, lambda: f"{Hoard.held} are held")
    found = objects.published("m")
    assert found is not None and found.obj.size == 2


def test_a_lazy_model_that_is_loading_when_it_changes_is_the_new_one_at_last(objects: Objects) -> None:
    models = Table(objects)
    models.apply({"m": hoard(1, lazy=True)})
    begun = threading.Thread(target=models.load, args=("m",))
    with slow_loads():
        begun.start()
        until(lambda: loading(models, "m"), lambda: str(models.states()))
        models.apply({"m": hoard(2, lazy=True)})
    begun.join(20)
    until(lambda: Hoard.held == 2, lambda: f"{Hoard.held} are held")
    models.load("m")
    found = objects.published("m")
    assert found is not None and found.obj.size == 2


def versions(default: str, **sizes: int) -> ModelSettings:
    """A model with a version of each size, by its name."""
    return ModelSettings(versions={name: hoard(size) for name, size in sizes.items()}).with_default(default)


def size_of(objects: Objects, name: str) -> int | None:
    """What calls to a name come to at this moment; None: they wait."""
    found = objects.published(name)
    return None if found is None else found.method("touch")()


def test_a_version_that_comes_or_goes_touches_no_other(objects: Objects) -> None:
    models = Table(objects)
    models.apply({"m": versions("a", a=1, b=2)})
    first, second = models.load("m@a"), models.load("m@b")
    with slow_loads():
        models.apply({"m": versions("a", a=1, b=2, c=4)})
        until(lambda: loading(models, "m@c"), lambda: str(models.states()))
        assert (models.state("m@a"), models.state("m@b")) == (first, second)
        assert [size_of(objects, name) for name in ("m", "m@a", "m@b", "m@c")] == [1, 1, 2, None]
    models.load("m@c")
    models.apply({"m": versions("a", a=1, c=4)})
    until(lambda: Hoard.held == 5, lambda: f"{Hoard.held} are held")
    assert models.state("m@a") == first and size_of(objects, "m") == 1
    assert objects.published("m@b") is None and objects.announced("m@b") is None


PLAIN, ONE, TWO = hoard(1), versions("a", a=1), versions("b", a=1, b=2)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (PLAIN, versions("b", b=2, c=4)),
        (TWO, hoard(4)),
        (ONE, TWO),
        (versions("a", a=1, b=2), versions("d", c=2, d=8)),
    ],
    ids=["versions instead of one", "one instead of versions", "a new default", "the default is gone"],
)
def test_a_name_stands_for_the_old_one_until_the_new_one_is_ready(
    objects: Objects, before: ModelSettings, after: ModelSettings
) -> None:
    models = Table(objects)
    models.apply({"m": before})
    models.load("m")
    old = size_of(objects, "m")
    with slow_loads():
        models.apply({"m": after})
        until(lambda: loading(models, "m"), lambda: str(models.states()))
        assert size_of(objects, "m") == old
        assert models.wait("m", patience=0)["exposed"]  # who asks for it now has it too
    new = next(iter((after.versions[after.default] if after.default else after).args))
    until(lambda: size_of(objects, "m") == new, lambda: str(models.states()))
    held = sum(one.args[0] for one in after.by_version.values())
    until(lambda: Hoard.held == held, lambda: f"{Hoard.held} are held")


def test_a_default_that_can_not_be_loaded_leaves_the_name_to_the_one_before(objects: Objects) -> None:
    models = Table(objects)
    models.apply({"m": versions("a", a=1)})
    models.load("m")
    broken = ModelSettings(factory="tests.test_changes:unprintable")
    models.apply({"m": ModelSettings(versions={"b": broken}).with_default("b")})
    until(lambda: bool(models.state("m")["state"] == "failed"), lambda: str(models.states()))
    assert size_of(objects, "m") == 1
    models.apply({})
    until(lambda: Hoard.held == 0, lambda: f"{Hoard.held} are held")
    assert objects.published("m") is None


def test_states_are_told_while_models_come_and_go(objects: Objects) -> None:
    models, over = Table(objects), threading.Event()
    all_of_them = {f"m{at}": hoard(0, lazy=True) for at in range(30)}

    def come_and_go() -> None:
        while not over.is_set():
            models.apply(all_of_them)
            models.apply({})

    interval = sys.getswitchinterval()
    changes = threading.Thread(target=come_and_go)
    sys.setswitchinterval(1e-6)
    changes.start()
    try:
        for _ in range(3000):
            models.states()
    finally:
        over.set()
        changes.join()
        sys.setswitchinterval(interval)


def test_news_that_can_not_be_told_are_logged_and_end_no_load(
    objects: Objects, caplog: pytest.LogCaptureFixture
) -> None:
    def changed() -> None:
        raise OSError("no room for a message")

    models = Table(objects, changed)
    models.add("m", hoard(1))
    assert models.load("m")["state"] == "ready"
    assert "how the models stand could not be told" in caplog.messages
    models.unload("m")
    assert Hoard.held == 0


def test_what_fails_as_a_model_is_shown_fails_its_load(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    models = Table(objects)
    models.add("m", hoard(1))

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("its graph can't be read")

    with monkeypatch.context() as patch:
        patch.setattr(table, "schedule_of", broken)
        with pytest.raises(LoadFailed, match="its graph can't be read"):
            models.load("m")
        assert models.state("m")["state"] == "failed" and objects.published("m") is None
    until(lambda: Hoard.held == 0, lambda: f"{Hoard.held} are held")
    models.reload("m")
    assert models.state("m")["state"] == "ready"


def test_an_error_without_a_text_fails_the_load_all_the_same(objects: Objects) -> None:
    models = Table(objects)
    models.add("m", ModelSettings(factory="tests.test_changes:unprintable"))
    with pytest.raises(LoadFailed, match="<Unprintable that can't be printed>"):
        models.load("m")


def test_an_error_that_says_nothing_is_told_by_its_type_alone(objects: Objects) -> None:
    models = Table(objects)
    models.add("m", ModelSettings(factory="tests.test_changes:speechless"))
    with pytest.raises(LoadFailed, match=r"could not be loaded: MemoryError$"):
        models.load("m")


def test_of_an_error_of_megabytes_the_beginning_is_told(objects: Objects, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    models = Table(objects)
    models.add("m", ModelSettings(factory="tests.test_changes:wordy"))
    with pytest.raises(LoadFailed, match="ValueError: xxxxx"):
        models.load("m")
    told = models.state("m")
    assert len(told["reason"]) <= MOST + 1 and len(str(told)) < 5 * MOST


class Lifeline:
    """What a host says, by its kind."""

    def __init__(self) -> None:
        self.sent: list[int] = []
        self.settled_with = 0

    def send(self, kind: int, *values: Any) -> bool:
        self.sent.append(kind)
        if kind == messages.SETTLED:
            (self.settled_with,) = values
        return True


class Cell:
    """How a host is shown to its callers."""

    shown = "down"

    def up(self) -> None:
        self.shown = "up"

    def stand_back(self) -> None:
        self.shown = "last"


def test_a_host_whose_model_can_not_be_loaded_is_called_last_until_it_can(objects: Objects) -> None:
    reporter = Reporter(lifeline := Lifeline())  # type: ignore[arg-type]
    reporter.load = cell = Cell()  # type: ignore[assignment]
    models = Table(objects, lambda: reporter.changed(models))
    reporter.models(models, {"m": dataclasses.asdict(ModelSettings(factory="tests.test_changes:unprintable"))}, 1)
    until(lambda: messages.SETTLED in lifeline.sent, lambda: str(models.states()))
    assert cell.shown == "last"
    reporter.models(models, {"m": dataclasses.asdict(hoard(1))}, 2)
    until(lambda: cell.shown == "up", lambda: str(models.states()))
    slot = models._wards["m"].slot
    with slow_loads():
        slot.sick(slot.wait(), "as asked")
        assert cell.shown == "last"
    slot.wait()
    until(lambda: cell.shown == "up", lambda: str(models.states()))
    models.unload("m")
    assert cell.shown == "up"  # the next call has it loaded


def test_a_host_has_settled_when_its_new_models_are_there_not_when_its_old_ones_are_gone(objects: Objects) -> None:
    reporter = Reporter(lifeline := Lifeline())  # type: ignore[arg-type]
    sent = lifeline.sent
    models = Table(objects, lambda: reporter.changed(models))
    stays, goes, comes = (dataclasses.asdict(hoard(size)) for size in (1, 2, 4))
    reporter.models(models, {"stays": stays, "goes": goes}, 1)
    until(lambda: messages.SETTLED in sent, lambda: str(sent))
    sent.clear()
    with slow_loads():
        reporter.models(models, {"stays": stays, "comes": comes}, 2)
        until(lambda: Hoard.held == 1, lambda: f"{Hoard.held} are held")
        assert messages.SETTLED not in sent
    until(lambda: messages.SETTLED in sent, lambda: str(sent))
    assert Hoard.held == 5 and sent.count(messages.SETTLED) == 1
    assert lifeline.settled_with == 2  # should the first word have been under way, it is known to be the old one


def test_what_is_taken_out_while_a_call_waits_for_it_is_not_loaded_once_more(objects: Objects) -> None:
    models = Table(objects)
    with slow_loads(), ThreadPoolExecutor() as pool:
        models.apply({"m": hoard(1)})
        until(lambda: loading(models, "m"), lambda: str(models.states()))
        wait = objects.announced("m")
        assert wait is not None
        called = pool.submit(wait)
        models.apply({})
        Hoard.gate.set()
        with suppress(UnknownObject):  # or it has the object in the moment before that goes
            called.result()
    until(lambda: Hoard.held == 0, lambda: f"{Hoard.held} are held")


def test_what_was_barred_at_the_start_is_so_once_and_not_with_other_settings(objects: Objects) -> None:
    models = Table(objects, barred={"m": [60.0, "it ended its host"], "n": [60.0, "it ended its host"]})
    models.apply({"m": hoard(1), "n": hoard(2, lazy=True)})
    for name in ("m", "n"):
        with pytest.raises(LoadFailed, match="is not loaded: it ended its host"):
            models.wait(name)
    models.apply({"m": hoard(3), "n": hoard(4, lazy=True)})
    models.wait("m")
    models.wait("n")
    models.apply({})
    until(lambda: Hoard.held == 0, lambda: f"{Hoard.held} are held")
    models.apply({"m": hoard(1)})
    models.wait("m")
    assert Hoard.held == 1


def test_a_load_that_is_abandoned_keeps_none_that_is_made_in_turn_waiting(objects: Objects) -> None:
    models = Table(objects, barred={"m": [0.0, ""], "n": [0.0, ""]})
    with slow_loads():
        models.apply({"m": hoard(1)})
        until(lambda: loading(models, "m"), lambda: str(models.states()))
        models.apply({"m": hoard(1), "n": ModelSettings(factory="tests.test_changes:light")})
        until(lambda: "progress" in models.state("n"), lambda: str(models.states()))
        assert loads(models.states()) == ["m"], "the other waits for its turn"
        models.unload("m")
        models.wait("n")
    until(lambda: Hoard.held == 0, lambda: f"{Hoard.held} are held")


def light() -> object:
    return object()


def test_a_lazy_default_that_nobody_can_call_is_tried_until_it_can_be(objects: Objects) -> None:
    now = [0.0]
    models = Table(objects, clock=lambda: now[0])
    models.apply({"m": ModelSettings(versions={"a": hoard(1, lazy=True)}).with_default("a")})
    models.load("m")
    broken = ModelSettings(factory="tests.hoards:Hoard", args=["text"], upkeep=Upkeep(lazy=True))
    models.apply({"m": ModelSettings(versions={"b": broken}).with_default("b")})
    until(lambda: models.state("m@b")["state"] == "failed", lambda: str(models.states()))
    assert size_of(objects, "m") == 1, "the one before serves"
    assert models.beat.look() <= RETRY_FIRST
    now[0] += RETRY_FIRST
    before = len(models.state("m@b")["history"])
    models.beat.look()
    until(lambda: len(models.state("m@b")["history"]) > before, lambda: str(models.states()))


def test_a_default_that_was_ready_before_has_the_name_though_the_last_one_rests(objects: Objects) -> None:
    models = Table(objects)
    models.apply({"m": versions("a", a=1, b=2)})
    models.load("m@b")
    models.load("m@a")
    models.unload("m@a")
    models.apply({"m": versions("b", a=1, b=2)})
    assert size_of(objects, "m") == 2
