"""Models on GPUs: where they go, who goes for whom, what is refused, and how little nvidia-smi is asked.

The GPUs are made up (see `cards`): what is tested is what the server makes of nvidia-smi's answers.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sharedmodel.errors import LoadFailed, NotEnoughMemory
from sharedmodel.objects import Objects
from sharedmodel.server.machine.governor import Model
from sharedmodel.server.machine.gpus import Gpus
from sharedmodel.server.machine.neighbours import Neighbours
from sharedmodel.server.machine.purse import Purse
from sharedmodel.server.settings import ModelSettings, Upkeep
from sharedmodel.server.table import Table

from .cards import MIB, Cards
from .hoards import Hoard, Vault, members
from .servers import until


class Shop:
    """A host's table, and the cards that its models run on; its time runs ahead as the test wants it."""

    def __init__(
        self, cards: Cards, budgets: dict[str, int], purse: Purse, neighbours: Neighbours | None = None
    ) -> None:
        self.ahead = 0.0
        self.cards = cards
        gpus = Gpus({name: size * MIB for name, size in budgets.items()}, clock=self.now)
        self.table = Table(Objects(), purse=purse, gpus=gpus, neighbours=neighbours, clock=self.now)

    def now(self) -> float:
        return time.monotonic() + self.ahead

    def add(self, name: str, device: str, size: int, *, known: bool = True, **upkeep: Any) -> None:
        """A model of so many MiB; ``known``: what it takes is known, it was loaded and unloaded once."""
        kwargs = {"cards": self.cards.folder, "size": size}
        self.table.add(
            name, ModelSettings(factory="tests.zoo:OnCard", kwargs=kwargs, device=device, upkeep=Upkeep(**upkeep))
        )
        if known:
            self.load(name)
            self.table.unload(name)

    def load(self, *names: str) -> None:
        for name in names:
            self.table.load(name)
            self.ahead += 2

    def call(self, name: str, method: str = "where", *args: Any) -> Any:
        return self.table._wards[name].slot.wait().method(method)(*args)

    def states(self) -> dict[str, str]:
        return {name: told["state"] for name, told in self.table.states().items()}

    def where(self) -> dict[str, str]:
        """The devices of the models that are loaded."""
        return {name: told["device"] for name, told in self.table.states().items() if "device" in told}

    def look(self) -> None:
        """One round of looking after memory, late enough for the GPUs."""
        self.ahead += 11
        self.table.arbiter.look()
        until(lambda: not self.table.arbiter._leaving, lambda: str(self.states()))


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Shop]]:
    """Opens a shop with cards of so many MiB."""
    Hoard.held = 0
    shops: list[Shop] = []

    def opening(*totals: int, purse: Purse | None = None, neighbours: Neighbours | None = None, **budgets: int) -> Shop:
        named = {name.replace("_", ":"): size for name, size in budgets.items()}
        shops.append(Shop(Cards(tmp_path, monkeypatch, *totals), named, purse or Vault(), neighbours))
        return shops[0]

    yield opening
    for shop in shops:
        shop.table.close()


def test_models_go_where_there_is_most_room_and_what_they_take_is_known_then(opened: Callable[..., Shop]) -> None:
    shop = opened(1000, 2000)
    for name in ("a", "b", "c"):
        shop.add(name, "cuda", 600, known=False)
    shop.load("a", "b", "c")
    assert shop.where() == {"a": "cuda:1", "b": "cuda:1", "c": "cuda:0"}
    assert [shop.call(name) for name in ("a", "b", "c")] == ["cuda:1", "cuda:1", "cuda:0"]
    assert shop.table.state("c")["device_memory"] == 600 * MIB
    assert shop.table.placed()["a"] == ["cuda:1", 600 * MIB]


def test_a_model_is_let_in_by_what_it_took_the_last_time_on_any_gpu(opened: Callable[..., Shop]) -> None:
    shop = opened(1000, 1000)
    shop.add("a", "cuda", 600)
    shop.add("b", "cuda:0", 600, known=False)
    shop.load("b", "a")
    assert shop.where() == {"a": "cuda:1", "b": "cuda:0"}


@pytest.mark.parametrize(("seen", "taken"), [(True, 300), (False, 700)])
def test_what_others_take_during_a_load_is_not_the_models_where_processes_are_seen(
    opened: Callable[..., Shop], seen: bool, taken: int
) -> None:
    shop = opened(1000)
    shop.add("a", "cuda", 0, known=False)
    (ward,) = shop.table._wards.values()
    with shop.table.arbiter.room(ward):
        Path(shop.cards.folder, "0", f"{os.getpid() if seen else 1}-mine").write_text("300\n")
        shop.cards.others(0, 400)
    assert (ward.device, ward.device_taken) == ("cuda:0", taken * MIB)


def test_where_nvidia_smi_fails_once_its_last_word_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Cards(tmp_path, monkeypatch, 1000).others(0, 200)
    gpus = Gpus({"cuda:0": 500 * MIB})
    gpus.ask()
    before = gpus.look()
    monkeypatch.setenv("PATH", "/nowhere")
    gpus.forget()
    gpus.ask()
    assert gpus.look() == before and before[0].used == 200 * MIB


def test_loads_that_begin_at_once_do_not_all_choose_one_gpu(opened: Callable[..., Shop]) -> None:
    shop = opened(1000, 1000, 1000)
    for name in ("a", "b", "c"):
        shop.add(name, "cuda", 100, known=False)
    a, b, c = shop.table._wards.values()
    room = shop.table.arbiter.room
    with room(a), room(b), room(c):
        assert {ward.seat.device for ward in (a, b, c)} == {"cuda:0", "cuda:1", "cuda:2"}


def test_what_does_not_fit_unloads_the_least_recently_used_model_of_that_gpu_only(opened: Callable[..., Shop]) -> None:
    shop = opened(1000, 1000)
    for name, device in (("a", "cuda:0"), ("b", "cuda:1"), ("c", "cuda:0"), ("d", "cuda:0")):
        shop.add(name, device, 400)
    shop.load("b", "a", "c")
    shop.load("d")
    assert shop.states() == {"a": "unloaded", "b": "ready", "c": "ready", "d": "ready"}
    assert "to make room for d, which needs 0 B, and 419 MB on cuda:0" in shop.table.state("a")["why"]


def test_what_can_not_fit_is_refused_with_the_numbers_of_its_gpu(opened: Callable[..., Shop]) -> None:
    shop = opened(1000, 1000)
    shop.add("a", "cuda:0", 700)
    shop.add("b", "cuda:0", 500, keep=True)
    shop.load("b")
    with pytest.raises(NotEnoughMemory, match="needs 734 MB on cuda:0, where 524 MB of the budget of 996 MB") as raised:
        shop.table.load("a")
    told = raised.value
    assert (told.needed, told.in_use, told.budget, told.freeable) == (700 * MIB, 500 * MIB, 950 * MIB, 0)
    assert shop.call("b") == "cuda:0"


def test_what_others_take_of_a_gpu_can_not_be_had(opened: Callable[..., Shop]) -> None:
    shop = opened(1000)
    shop.add("a", "cuda", 300)
    shop.cards.others(0, 800)
    with pytest.raises(NotEnoughMemory, match="nothing could be unloaded for it"):
        shop.table.load("a")
    shop.cards.others(0, 100)
    shop.ahead += 6
    shop.load("a")
    assert shop.where() == {"a": "cuda:0"}


def test_of_a_gpu_with_a_budget_no_more_is_taken_whoever_else_is_there(opened: Callable[..., Shop]) -> None:
    shop = opened(1000, cuda_0=500)
    shop.cards.others(0, 450)
    shop.add("a", "cuda", 300)
    shop.add("b", "cuda", 300)
    shop.load("a", "b")
    assert shop.states() == {"a": "unloaded", "b": "ready"}
    (told,) = shop.table.arbiter.gpus.told()
    assert (told["budget"], told["in_use"], told["source"]) == (500 * MIB, 300 * MIB, "configuration")


def test_a_load_waits_for_the_end_of_a_call_on_its_gpu(opened: Callable[..., Shop], tmp_path: Path) -> None:
    shop = opened(1000)
    shop.add("a", "cuda", 600)
    shop.add("b", "cuda", 600)
    shop.load("a")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(2) as pool:
        held = pool.submit(shop.call, "a", "hold", str(pipe))
        until(lambda: bool(shop.table._wards["a"].slot.served.inside), lambda: "not called")  # type: ignore[union-attr]
        shop.ahead += 2
        begun = pool.submit(shop.table.load, "b")
        arbiter = shop.table.arbiter
        until(lambda: bool(arbiter._news._waiters), lambda: "it does not wait")  # type: ignore[attr-defined]
        assert not begun.done() and shop.states()["a"] == "ready"
        pipe.write_text("go")
        held.result(20)
        shop.ahead += 2
        begun.result(20)
    assert shop.states() == {"a": "unloaded", "b": "ready"}


def test_the_main_memory_is_asked_as_well(opened: Callable[..., Shop]) -> None:
    shop = opened(1000)
    shop.table.add("full", ModelSettings(factory="tests.hoards:Hoard", args=[90], upkeep=Upkeep(keep=True)))
    shop.table.add("a", ModelSettings(factory="tests.hoards:hoard_on", args=[20], device="cuda"))
    shop.load("a")
    shop.table.unload("a")
    shop.load("full")
    with pytest.raises(NotEnoughMemory, match="needs 20 B on cpu"):
        shop.table.load("a")


def test_a_full_gpu_has_its_models_shrunk_and_then_the_least_recently_used_unloaded(
    opened: Callable[..., Shop], caplog: pytest.LogCaptureFixture
) -> None:
    shop = opened(1000, 1000)
    for name, device in (("a", "cuda:1"), ("b", "cuda:0"), ("c", "cuda:0")):
        shop.add(name, device, 300, known=False)
    shop.load("a", "b", "c")
    shop.look()
    assert not caplog.messages
    shop.cards.others(0, 350)
    for _ in range(2):
        shop.look()
    assert shop.states() == {"a": "ready", "b": "unloaded", "c": "ready"}
    first, second = (line for line in caplog.messages if line.startswith("memory of cuda:0 is short: 996 MB of 996 MB"))
    assert first.endswith("arenas are shrunk") and second.endswith("unloaded: b")
    shop.look()
    assert shop.states()["c"] == "ready"


def test_nvidia_smi_is_asked_where_models_run_on_gpus_only_and_never_for_a_call(opened: Callable[..., Shop]) -> None:
    shop = opened(1000)
    shop.table.add("cpu", ModelSettings(factory="tests.hoards:Hoard", args=[1], device=None))
    shop.load("cpu")
    shop.look()
    shop.call("cpu", "touch")
    assert shop.cards.asked == 0
    shop.add("a", "cuda", 100, known=False)
    shop.load("a")
    before = shop.cards.asked
    assert before == 4  # two questions before the load, and after it
    for _ in range(100):
        shop.call("a")
    for _ in range(5):
        shop.table.arbiter.look()
    assert shop.cards.asked <= before + 2


def test_an_open_purse_refuses_nothing_and_yet_says_where(opened: Callable[..., Shop]) -> None:
    shop = opened(100, 500, purse=Purse(open=True))
    shop.add("a", "cuda", 900, known=False)
    shop.add("b", "cuda", 900, known=False)
    shop.load("a", "b")
    assert shop.where() == {"a": "cuda:1", "b": "cuda:0"}


def test_each_instance_in_a_host_of_its_own_begins_with_another_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cards = Cards(tmp_path, monkeypatch, 900, 1000)
    for first in range(3):
        table = Table(Objects(), purse=Vault(), gpus=Gpus(first=first))
        settings = ModelSettings(factory="tests.zoo:OnCard", args=[cards.folder, 100], device="cuda")
        table.add("a", settings)
        assert table.load("a")["device"] == f"cuda:{first % 2}"
        table.close()


def test_what_another_host_has_only_begun_to_load_on_a_gpu_counts(opened: Callable[..., Shop]) -> None:
    with members() as member:
        member(1).tell([Model("b", 700 * MIB, "cuda:1", loading=True)])
        shop = opened(1000, 1200, neighbours=member(0))
        shop.add("a", "cuda", 600, known=False)
        shop.load("a")
        assert shop.where() == {"a": "cuda:0"}


def test_what_another_host_has_just_given_back_has_no_model_here_go_for_it(opened: Callable[..., Shop]) -> None:
    with members() as member, ThreadPoolExecutor(1) as pool:
        other = member(1)
        shop = opened(2000, cuda_0=1000, neighbours=member(0))
        shop.add("a", "cuda:0", 400, known=False)
        shop.add("c", "cuda:0", 500)
        shop.load("a")
        others = Path(shop.cards.folder, "0", f"{os.getpid()}-other")
        others.write_text("500\n")
        other.tell([Model("b", 500 * MIB, "cuda:0")])
        load = pool.submit(shop.load, "c")
        until(lambda: "b" in other.asked(), lambda: "nobody asked")
        others.unlink()
        other.tell([])
        load.result(20)
        assert shop.states() == {"a": "ready", "c": "ready"}


def test_an_answer_that_was_under_way_when_something_changed_is_not_fresh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cards = Cards(tmp_path, monkeypatch, 1000)
    gpus = Gpus()
    read = gpus._read
    monkeypatch.setattr(gpus, "_read", lambda: (read(), gpus.forget(), cards.others(0, 300))[0])
    gpus.ask()
    assert gpus.look()[0].used == 0
    gpus.ask()
    assert gpus.look()[0].used == 300 * MIB


NO_GPU = [
    ("cuda:2", {}, {}, r"no cuda:2 here; there are: cuda:0: NVIDIA A100-SXM4, 1.0 GB; cuda:1: NVIDIA"),
    ("cuda:1", {"CUDA_VISIBLE_DEVICES": "1"}, {}, "no cuda:1 here; there are: cuda:0"),
    ("cuda", {"CUDA_VISIBLE_DEVICES": ""}, {}, "no GPU that CUDA_VISIBLE_DEVICES= lets a process see"),
    ("cuda", {"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}, {}, "counts? GPUs otherwise than nvidia-smi does; unset it"),
    ("cuda", {}, {"cuda_7": 5}, "`devices` has a budget for cuda:7; there are: cuda:0, cuda:1"),
    ("cuda:0", {"PATH": "/nowhere"}, {}, 'nvidia-smi shows no GPU: use the device "cpu"'),
]


@pytest.mark.parametrize(("device", "environment", "budgets", "told"), NO_GPU)
def test_a_gpu_that_is_not_there_is_told_with_those_that_are(
    opened: Callable[..., Shop],
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    environment: dict[str, str],
    budgets: dict[str, int],
    told: str,
) -> None:
    shop = opened(1000, 1000, **budgets)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    shop.add("a", device, 1, known=False)
    with pytest.raises(LoadFailed, match=f"model 'a' could not be loaded: BadArgument: .*{told}"):
        shop.table.load("a")


def test_where_nvidia_smi_tells_of_none_a_configured_budget_stands_for_one(
    opened: Callable[..., Shop], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = opened(1000, cuda_0=500)
    monkeypatch.setenv("PATH", "/nowhere")
    shop.add("a", "cuda", 300, known=False)
    shop.load("a")
    assert shop.where() == {"a": "cuda:0"}


def test_a_factory_whose_table_names_no_device_is_given_none() -> None:
    table = Table(Objects())
    table.add("a", ModelSettings(factory="tests.hoards:hoard_on", args=[0]))
    assert table.load("a")["state"] == "ready"
    table.add("b", ModelSettings(factory="tests.hoards:hoard_on", args=[0], device="cpu"))
    table.load("b")
    assert [table._wards[name].slot.wait().obj.device for name in "ab"] == [None, "cpu"]
    table.close()
