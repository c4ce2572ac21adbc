"""Runs of an ONNX model that overlap: with `narrow` each has a thread of a second session."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ort = pytest.importorskip("onnxruntime")

from sharedmodel.server.canary import Canary  # noqa: E402
from sharedmodel.server.chore import Chore  # noqa: E402
from sharedmodel.server.models.onnx import OnnxModel  # noqa: E402
from sharedmodel.server.scheduling.batching import serving  # noqa: E402
from sharedmodel.server.settings import ProbeSettings  # noqa: E402
from tests import onnx_graphs as graphs  # noqa: E402

FEED = {"x": np.random.default_rng(5).standard_normal((3, 64), dtype=np.float32)}


class Caller:
    """A client's call, which nobody gives up."""

    cancelled = False

    def empty(self, shape: Any, dtype: Any, order: Any) -> None:
        """No memory of a session's."""

    def add_callback(self, callback: Callable[[], None]) -> None:
        pass

    def remove_callback(self, callback: Callable[[], None]) -> None:
        pass


def runs(model: OnnxModel) -> list[int]:
    """Of each session; the one of a thread is the second."""
    return [len(each.arena._first) for each in model._sessions.made()]


def run(model: OnnxModel, others: int, call: Any = None, method: str = "run", *args: Any) -> Any:
    """A client's run, while so many others are under way."""
    for _ in range(others):
        model._sessions.enter()
    try:
        with serving(call or Caller()):
            return getattr(model, method)(*(args or (None, FEED)))
    finally:
        for _ in range(others):
            model._sessions.leave()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "mlp.onnx"
    path.write_bytes(graphs.mlp(64, 3))
    return path


def test_there_is_a_second_session_only_where_it_is_asked_for(path: Path) -> None:
    usual, narrow, single = (
        OnnxModel(path, threads=threads, narrow=asked) for threads, asked in [(2, False), (2, True), (1, True)]
    )
    for model in (usual, narrow, single):
        run(model, others=3)
    assert [runs(model) for model in (usual, narrow, single)] == [[1], [0, 1], [1]]
    threads = [each.session.get_session_options().intra_op_num_threads for each in narrow._sessions.made()]
    assert threads == [2, 1]


def test_a_run_beside_another_has_the_answer_of_one_that_is_alone(path: Path) -> None:
    model = OnnxModel(path, threads=2, narrow=True)
    alone, beside = run(model, 0)[0], run(model, 1)[0]
    assert runs(model) == [1, 1]
    assert np.allclose(alone, beside, rtol=1e-6, atol=1e-6 * float(np.abs(alone).max()))


def test_every_way_to_run_goes_there(path: Path) -> None:
    model = OnnxModel(path, threads=2, narrow=True)
    run(model, 1)
    run(model, 1, None, "run_packed")
    run(model, 1, None, "run_bound", [("x", FEED["x"])], [("y", None, None)])
    assert runs(model) == [0, 3]


def test_runs_share_the_threads_until_there_are_as_many_of_them(path: Path) -> None:
    model = OnnxModel(path, threads=3, narrow=True)
    run(model, 1)
    assert runs(model) == [1, 0]
    run(model, 2)
    assert runs(model) == [1, 1]


def test_what_the_host_asks_for_itself_has_the_same_bits_however_busy_the_model_is(path: Path) -> None:
    model = OnnxModel(path, threads=2, narrow=True)
    canary = Canary(ProbeSettings(args=[None, FEED], method="run"))
    for call in (None, Chore("run")):
        for others in (0, 3):
            for _ in range(others):
                model._sessions.enter()
            with serving(call):
                canary.sing(model)
            for _ in range(others):
                model._sessions.leave()
    assert runs(model) == [4, 0]


def test_a_hundred_runs_of_eight_threads_are_counted_out_again(path: Path) -> None:
    model = OnnxModel(path, threads=2, narrow=True)
    (expected,) = run(model, 0)
    with ThreadPoolExecutor(8) as pool:
        for (found,) in pool.map(lambda _: run(model, 0), range(100)):
            assert np.allclose(expected, found, rtol=1e-5, atol=1e-5)
    with pytest.raises(IndexError):  # all have left
        model._sessions.leave()


def test_a_run_that_fails_leaves_as_well(path: Path) -> None:
    model = OnnxModel(path, threads=2, narrow=True)
    for _ in range(3):
        with pytest.raises(Exception, match="x"):
            run(model, 0, None, "run", None, {"x": np.zeros(3, np.float32)})
    with pytest.raises(IndexError):
        model._sessions.leave()


def test_a_file_that_is_replaced_after_the_load_is_not_mixed_with_the_one_that_was_loaded(path: Path) -> None:
    model = OnnxModel(path, threads=2, narrow=True)
    (expected,) = run(model, 0)
    path.unlink()
    assert np.allclose(run(model, 1)[0], expected, rtol=1e-5, atol=1e-5)


def test_it_is_refused_on_a_device_where_runs_do_not_wait_for_threads(path: Path) -> None:
    with pytest.raises(ValueError, match="narrow: on cuda:0 runs don't wait for threads"):
        OnnxModel(path, narrow=True, device="cuda:0")


def test_an_arena_of_each_session_is_shrunk(path: Path) -> None:
    model = OnnxModel(path, threads=2, narrow=True)
    model.shrink()
    assert [each.arena._asked for each in model._sessions.made()] == [True, True]
    run(model, 1)
    assert [each.arena._asked for each in model._sessions.made()] == [True, False]


@pytest.mark.parametrize(("spinning", "spins", "stops"), [(False, "0", "0"), (True, "1", "0"), ("run", "1", "1")])
def test_threads_spin_as_they_were_told(path: Path, spinning: Any, spins: str, stops: str) -> None:
    options = OnnxModel(path, threads=2, spinning=spinning).session.get_session_options()
    entries = ("session.intra_op.allow_spinning", "session.force_spinning_stop")
    assert [options.get_session_config_entry(entry) for entry in entries] == [spins, stops]
