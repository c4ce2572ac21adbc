"""Which host serves which model, from the settings alone; and the board that tells how busy each is."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from sharedmodel.board import DOWN, LAST, Board, Load
from sharedmodel.server.layout import FIRST, Post, hosts_of, isolated, lanes, planned, posts
from sharedmodel.server.scheduling.settings import Scheduling
from sharedmodel.server.settings import ModelSettings, Settings

PLAIN = ModelSettings(factory="zoo:Echo")


def test_models_share_the_first_host() -> None:
    assert posts(Settings(models={"a": PLAIN, "b": PLAIN})) == [Post(FIRST, ("a", "b"))]


def test_an_isolated_model_has_a_host_and_each_of_its_instances_one() -> None:
    apart = ModelSettings(factory="zoo:Echo", isolate=True)
    twice = ModelSettings(factory="zoo:Echo", isolate=True, instances=2)
    found = posts(Settings(models={"a": PLAIN, "b": apart, "c": twice}))
    assert found == [Post(FIRST, ("a",)), Post("b", ("b",)), Post("c#0", ("c",)), Post("c#1", ("c",))]


def test_an_adapter_that_keeps_the_interpreter_busy_is_isolated_where_others_would_suffer() -> None:
    ocr = ModelSettings(kind="cnocr")
    assert not isolated(Settings(models={"ocr": ocr}), "ocr")
    assert isolated(Settings(models={"ocr": ocr, "a": PLAIN}), "ocr")
    assert not isolated(Settings(models={"ocr": ocr, "a": PLAIN}, embedded=True), "ocr")
    refused = ModelSettings(kind="cnocr", isolate=False)
    assert not isolated(Settings(models={"ocr": refused, "a": PLAIN}), "ocr")
    assert isolated(Settings(models={"ocr": ModelSettings(kind="cnocr", instances=2)}), "ocr")


def test_instances_are_processes_where_a_model_is_isolated_and_else_threads() -> None:
    apart = ModelSettings(factory="zoo:Echo", isolate=True, instances=2)
    here = ModelSettings(factory="zoo:Echo", instances=2)
    settings = Settings(models={"apart": apart, "here": here, "plain": PLAIN})
    assert [lanes(settings, name) for name in ("apart", "here", "plain")] == [1, 2, None]


def test_threads_of_an_only_model_may_spin_while_it_runs_unless_it_says_how_they_wait() -> None:
    def spinning(**models: ModelSettings) -> list[object]:
        return [model.options.get("spinning") for model in planned(Settings(models=models), 4).models.values()]

    graph = ModelSettings(kind="onnx")
    assert spinning(a=graph) == ["run"]
    assert spinning(a=graph, b=PLAIN) == [None, None]
    assert spinning(a=ModelSettings(kind="onnx", options={"spinning": False})) == [False]
    assert spinning(a=ModelSettings(kind="onnx", instances=2)) == [None]
    assert spinning(a=ModelSettings(kind="onnx", versions={"1": graph, "2": graph})) == [None]
    assert spinning(a=ModelSettings(kind="cnocr")) == [None]


def test_a_graph_whose_runs_may_have_a_thread_each_runs_as_many_at_once_as_it_has_threads() -> None:
    def at_once(lanes: int, **own: object) -> list[int]:
        graph = ModelSettings(kind="onnx", options=own, scheduling=Scheduling(lanes=lanes))
        return [
            planned(Settings(models=models), 8).models["a"].scheduling.lanes
            for models in ({"a": graph}, {"a": graph, "b": PLAIN}, {"a": dataclasses.replace(graph, instances=2)})
        ]

    assert at_once(4) == [4, 4, 2]
    assert at_once(4, narrow=True) == [8, 4, 2]
    assert at_once(9, narrow=True) == [9, 9, 2]
    assert at_once(1, narrow=True, threads=3) == [3, 3, 2]


@given(st.dictionaries(st.text("ab._-", min_size=1), st.tuples(st.none() | st.booleans(), st.integers(1, 4))))
def test_every_model_is_served_and_every_host_has_its_own_name(models: dict[str, tuple[bool | None, int]]) -> None:
    made = {name: ModelSettings(factory="x:y", isolate=i, instances=n) for name, (i, n) in models.items()}
    settings = Settings(models=made)
    found = posts(settings)
    assert found[0].name == FIRST
    assert len({post.name for post in found}) == len(found)
    for name in made:
        assert [post.name for post in found if name in post.models] == hosts_of(settings, name)


def test_a_host_is_down_on_the_board_until_its_models_are_there_and_last_while_it_has_none(tmp_path: Path) -> None:
    path = str(tmp_path / "loads")
    writer, reader = Board.create(path), Board.open(path)
    load = Load(writer, 3)
    load.add(2)
    assert reader[3] == DOWN
    load.up()
    assert (reader[2], reader[3], reader[4]) == (DOWN, 2, DOWN)
    load.add(-2)
    assert reader[3] == 0
    load.stand_back()
    load.add(1)
    assert reader[3] == LAST < DOWN
    load.up()
    assert reader[3] == 1


def test_the_processors_are_divided_and_what_is_configured_stays() -> None:
    models = {
        "a": ModelSettings(kind="onnx", options={"path": "a"}),
        "b": ModelSettings(kind="onnx", options={"path": "b", "threads": 3}),
        "mine": PLAIN,
    }
    found = planned(Settings(models=models), 8)
    assert found.models["b"].options["threads"] == 3
    assert found.models["a"].options["threads"] == found.threads["a"] > 1
    assert "threads" not in found.models["mine"].options
    assert planned(Settings(models={"a": models["a"]}), 8).models["a"].options["threads"] == 8
    assert posts(found)[0].settings(found).environment()["OMP_NUM_THREADS"]


def test_a_heavier_model_has_more_of_the_processors() -> None:
    heavy = ModelSettings(kind="onnx", options={"path": "h"}, weight=3)
    light = ModelSettings(kind="onnx", options={"path": "l"})
    assert planned(Settings(models={"h": heavy, "l": light}), 8).threads == {"h": 6, "l": 2}
