"""Runs of an ONNX model that overlap: each has a thread of a second session, and the same answer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ort = pytest.importorskip("onnxruntime")

from sharedmodel.server.models import onnx_opened  # noqa: E402
from sharedmodel.server.models.onnx import OnnxModel  # noqa: E402
from tests import onnx_graphs as graphs  # noqa: E402

Feed = dict[str, np.ndarray[Any, Any]]
FEED: Feed = {"x": np.random.default_rng(5).standard_normal((3, 64), dtype=np.float32)}


def sessions(model: OnnxModel) -> int:
    return len(model._sessions.made())


def overlapping(model: OnnxModel, others: int = 1) -> list[Any]:
    """A run, while so many others are under way."""
    for _ in range(others):
        model._sessions.enter()
    try:
        return model.run(None, FEED)
    finally:
        for _ in range(others):
            model._sessions.leave()


def entry(model: OnnxModel, name: str, which: int = 0) -> str:
    options = model._sessions.made()[which].session.get_session_options()
    return str(options.get_session_config_entry(name))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "mlp.onnx"
    path.write_bytes(graphs.mlp(64, 3))
    return path


def test_a_run_beside_another_has_the_bits_of_one_that_is_alone(path: Path) -> None:
    model = OnnxModel(path, threads=2)
    (alone,) = model.run(None, FEED)
    assert sessions(model) == 1
    (beside,) = overlapping(model)
    assert sessions(model) == 2 and model._sessions.made()[1].session.get_session_options().intra_op_num_threads == 1
    assert alone.tobytes() == beside.tobytes()


def test_every_way_to_run_goes_there(path: Path) -> None:
    model = OnnxModel(path, threads=2)
    (alone,) = model.run(None, FEED)
    model._sessions.enter()
    (packed,) = model.run_packed(None, FEED)
    (bound,) = model.run_bound([("x", FEED["x"])], [("y", None, None)])
    model._sessions.leave()
    assert sessions(model) == 2
    assert packed.tobytes() == bound.tobytes() == alone.tobytes()


def test_runs_share_the_threads_until_there_are_as_many_of_them(path: Path) -> None:
    model = OnnxModel(path, threads=3)
    overlapping(model, others=1)
    assert sessions(model) == 1
    overlapping(model, others=2)
    assert sessions(model) == 2


def test_a_hundred_runs_of_eight_threads_have_one_answer(path: Path) -> None:
    model = OnnxModel(path, threads=2)
    (expected,) = model.run(None, FEED)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: model.run(None, FEED)[0].tobytes(), range(100)))
    assert set(found) == {expected.tobytes()}
    with pytest.raises(IndexError):  # all have left
        model._sessions.leave()


def test_a_run_that_fails_leaves_as_well(path: Path) -> None:
    model = OnnxModel(path, threads=2)
    for _ in range(3):
        with pytest.raises(Exception, match="x"):
            model.run(None, {"x": np.zeros(3, np.float32)})
    model.run(None, FEED)
    assert sessions(model) == 1


def test_a_file_that_was_replaced_is_not_mixed_with_the_one_that_was_loaded(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = OnnxModel(path, threads=2)
    (expected,) = model.run(None, FEED)
    other = path.with_name("other.onnx")
    other.write_bytes(graphs.mlp(32, 2))
    other.replace(path)
    for _ in range(2):
        (found,) = overlapping(model)
        assert found.tobytes() == expected.tobytes()
    assert sessions(model) == 1
    assert len(caplog.records) == 1 and "has changed since this model was loaded" in caplog.text


@pytest.mark.parametrize("others", [{"narrow": False}, {"parallel": True}, {"threads": 1}])
def test_there_is_no_second_session_where_it_is_not_wanted_or_nothing_is_gained(
    path: Path, others: dict[str, Any]
) -> None:
    model = OnnxModel(path, **{"threads": 2} | others)
    overlapping(model, others=3)
    assert sessions(model) == 1


def test_a_large_model_has_its_weights_once_unless_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_opened, "SMALL", path.stat().st_size - 1)
    large, told, mapped = (
        OnnxModel(path, threads=2, **own)
        for own in ({}, {"narrow": True}, {"mapped": True})  # type: ignore[arg-type]
    )
    for model in (large, told, mapped):
        overlapping(model)
    assert [sessions(model) for model in (large, told, mapped)] == [1, 2, 2]


def test_weights_that_lie_beside_the_file_count_as_large(tmp_path: Path) -> None:
    import onnx

    graph = onnx.load_from_string(graphs.mlp(64, 3))
    path = tmp_path / "mlp.onnx"
    onnx.save_model(graph, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    model = OnnxModel(path, threads=2)
    overlapping(model)
    assert sessions(model) == 1 and OnnxModel.at_once({"path": str(path)}) is None


def test_an_arena_of_each_session_is_shrunk(path: Path) -> None:
    model = OnnxModel(path, threads=2)
    overlapping(model)
    model.shrink()
    assert [each.arena._asked for each in model._sessions.made()] == [True, True]
    overlapping(model)
    assert [each.arena._asked for each in model._sessions.made()] == [True, False]


@pytest.mark.parametrize(("spinning", "spins", "stops"), [(False, "0", "0"), (True, "1", "0"), ("run", "1", "1")])
def test_threads_spin_as_they_were_told(path: Path, spinning: Any, spins: str, stops: str) -> None:
    model = OnnxModel(path, threads=2, spinning=spinning)
    assert entry(model, "session.intra_op.allow_spinning") == spins
    assert entry(model, "session.force_spinning_stop") == stops
