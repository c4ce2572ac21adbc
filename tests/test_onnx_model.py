"""The ONNX adapter against onnxruntime called in process: same bits, same errors."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ort = pytest.importorskip("onnxruntime")

from sharedmodel.server.models import onnx, onnx_binding, onnx_graph  # noqa: E402
from sharedmodel.server.models.onnx import OnnxModel  # noqa: E402
from tests import onnx_graphs as graphs  # noqa: E402


def in_process(graph: bytes) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def floats(*shape: int) -> np.ndarray[Any, Any]:
    array = np.random.default_rng(3).standard_normal(shape, dtype=np.float32)
    array.flags.writeable = False  # as the host hands inputs to a model
    return array


def same(ours: list[Any], theirs: list[Any]) -> None:
    assert len(ours) == len(theirs)
    for got, expected in zip(ours, theirs, strict=True):
        assert type(got) is type(expected)
        if isinstance(expected, np.ndarray):
            assert got.dtype == expected.dtype and got.shape == expected.shape
            assert got.tobytes() == expected.tobytes() or (got == expected).all()


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray[Any, Any]]:
    """Every block the adapter asks for, in place of shared memory."""
    made: list[np.ndarray[Any, Any]] = []

    def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
        made.append(np.empty(shape, dtype))
        return made[-1]

    monkeypatch.setattr(onnx_binding, "empty", empty)
    return made


CASES: dict[str, tuple[Callable[[], bytes], dict[str, Any]]] = {
    "identity": (graphs.identity, {"x": floats(5)}),
    "an empty tensor": (graphs.identity, {"x": floats(0)}),
    "add": (graphs.add, {"x": floats(7), "y": floats(7)}),
    "broadcasting": (graphs.add, {"x": floats(7), "y": floats(1)}),
    "broadcasting the other way": (graphs.add, {"x": floats(1), "y": floats(7)}),
    "an mlp": (lambda: graphs.mlp(64, 3), {"x": floats(9, 64)}),
    "several outputs": (graphs.several_outputs, {"x": floats(3, 4)}),
    "an unnamed shape": (graphs.unnamed_shape, {"x": floats(3, 2)}),
    "a wrongly named shape": (graphs.wrongly_named, {"x": floats(3)}),
    "a sequence": (graphs.sequence, {"x": floats(2, 2)}),
    "a reshape": (graphs.reshape, {"x": floats(6), "to": np.array([2, 3])}),
    "a list for an array": (graphs.identity, {"x": [1.0, 2.0]}),
    "not contiguous": (graphs.identity, {"x": floats(8)[::2]}),
    "Fortran order": (graphs.several_outputs, {"x": np.asfortranarray(floats(3, 4))}),
}


@pytest.mark.parametrize("case", CASES)
def test_every_result_is_bitwise_that_of_onnxruntime(case: str) -> None:
    make, feed = CASES[case]
    graph = make()
    model, session = OnnxModel(graph, threads=1), in_process(graph)
    for _ in range(3):  # unknown, learnt, remembered
        same(model.run(None, feed), session.run(None, feed))


def test_strings_are_those_of_onnxruntime_at_a_fixed_width_since_objects_do_not_cross() -> None:
    graph, feed = graphs.strings(), {"word": np.array(["ab", "ü"]), "x": floats(2)}
    words, numbers = OnnxModel(graph, threads=1).run(None, feed)
    expected_words, expected_numbers = in_process(graph).run(None, feed)
    assert words.dtype == np.dtype("U2")
    assert words.tolist() == expected_words.tolist()
    same([numbers], [expected_numbers])


MISTAKES: dict[str, tuple[Callable[[], bytes], Any, Any]] = {
    "a missing input": (graphs.add, None, {"x": floats(2)}),
    "an unknown input": (graphs.identity, None, {"x": floats(2), "q": floats(2)}),
    "only an unknown input": (graphs.identity, None, {"q": floats(2)}),
    "an unknown output": (graphs.identity, ["nope"], {"x": floats(2)}),
    "a name for a list of names": (graphs.identity, "y", {"x": floats(2)}),
    "a wrong type": (graphs.identity, None, {"x": np.ones(2)}),
    "a wrong rank": (graphs.identity, None, {"x": floats(2, 2)}),
    "a wrong dimension": (graphs.several_outputs, None, {"x": floats(2, 3)}),
    "shapes that don't add": (graphs.add, None, {"x": floats(2), "y": floats(3)}),
    "a float": (graphs.identity, None, {"x": 1.0}),
    "None": (graphs.identity, None, {"x": None}),
    "no dict": (graphs.identity, None, [1]),
    "a failure while running": (graphs.reshape, None, {"x": floats(5), "to": np.array([2, 3])}),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_raises_what_onnxruntime_raises(case: str) -> None:
    make, names, feed = MISTAKES[case]
    graph = make()
    with pytest.raises(Exception) as theirs:
        in_process(graph).run(names, feed, None)
    with pytest.raises(Exception) as ours:
        OnnxModel(graph, threads=1).run(names, feed)
    assert type(ours.value) is type(theirs.value)
    # pybind's own TypeError prints the objects it was given, and their addresses.
    assert str(ours.value).split("Invoked with")[0] == str(theirs.value).split("Invoked with")[0]


def test_outputs_of_a_known_shape_are_written_in_place(blocks: list[Any]) -> None:
    results = OnnxModel(graphs.several_outputs(), threads=1).run(None, {"x": floats(3, 4)})
    assert len(blocks) == 4
    assert all(result is block for result, block in zip(results, blocks, strict=True))


def test_only_the_requested_outputs_come_and_in_the_order_asked(blocks: list[Any]) -> None:
    x = floats(3, 4)
    model = OnnxModel(graphs.several_outputs(), threads=1)
    double, total = model.run(["double", "total"], {"x": x})
    assert (double == x * 2).all() and total.shape == (3,) and len(blocks) == 2
    same(model.run(["total", "total"], {"x": x}), [total, total])


@pytest.mark.parametrize("make", [graphs.unnamed_shape, graphs.wrongly_named])
def test_a_shape_nobody_stated_is_learnt_from_the_first_run(make: Callable[[], bytes], blocks: list[Any]) -> None:
    model = OnnxModel(make(), threads=1)
    x = floats(3, 2) if make is graphs.unnamed_shape else floats(3)
    first = model.run(None, {"x": x})[0]
    blocks.clear()
    second = model.run(None, {"x": x})[0]
    assert second is blocks[0] and (first == second).all()


def test_a_shape_that_depends_on_the_data_is_right_every_time(blocks: list[Any]) -> None:
    model = OnnxModel(graphs.data_dependent(), threads=1)
    for values in ([1, 0, 1], [1, 1, 1], [0, 0, 0], [1, 0, 1], [0, 1, 0]):
        (at,) = model.run(None, {"x": np.array(values, np.float32)})
        assert at.tolist() == [np.flatnonzero(values).tolist()]
    blocks.clear()
    model.run(None, {"x": np.ones(3, np.float32)})
    assert blocks == []  # it has stopped guessing


def test_inputs_are_not_copied() -> None:
    model = OnnxModel(graphs.shape_of(), threads=1)
    model.run(None, {"x": floats(1, 4)})
    x = np.ones((16 << 20, 4), np.float32)  # 256 MB
    x.flags.writeable = False
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert model.run(None, {"x": x})[0].tolist() == [16 << 20, 4]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 << 10


def test_many_threads_share_one_model() -> None:
    graph = graphs.mlp(128, 2)
    model, session = OnnxModel(graph, threads=1), in_process(graph)

    def check(batch: int) -> None:
        x = np.full((batch % 7 + 1, 64), batch, np.float32)
        same(model.run(None, {"x": x}), session.run(None, {"x": x}))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(check, range(400)))


@contextmanager
def soon(callback: Callable[[], None]) -> Iterator[None]:
    timer = threading.Timer(0.2, callback)
    timer.start()
    yield
    timer.join()


@pytest.mark.parametrize("warm", [False, True])
def test_cancelling_stops_a_model_that_runs(monkeypatch: pytest.MonkeyPatch, warm: bool) -> None:
    model = OnnxModel(graphs.counting(), threads=1)
    x = np.zeros(1, np.float32)
    if warm:
        assert model.run(None, {"limit": np.array(10), "x": x})[0].tolist() == [10.0]
    monkeypatch.setattr(onnx, "on_cancel", soon)
    start = time.monotonic()
    with pytest.raises(Exception, match="terminate flag"):
        model.run(None, {"limit": np.array(10**9), "x": x})
    assert time.monotonic() - start >= 0.2


def test_a_run_of_an_adapters_own_graph_that_is_cancelled_writes_nothing_by_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "counting.onnx").write_bytes(graphs.counting())
    graph = onnx_graph.Graph(str(tmp_path / "counting.onnx"), threads=1, providers=["CPUExecutionProvider"])
    monkeypatch.setattr(onnx_graph, "on_cancel", soon)
    with pytest.raises(Exception, match="terminate flag"):
        graph.run(["y"], {"limit": np.array(10**9), "x": np.zeros(1, np.float32)})
    assert capfd.readouterr() == ("", "")


def test_metadata_are_plain_values() -> None:
    graph = graphs.identity(("n", 3), metadata={"labels": "a,b"})
    model, session = OnnxModel(graph), in_process(graph)
    assert model.get_inputs() == [{"name": "x", "shape": ["n", 3], "type": "tensor(float)"}]
    assert model.get_outputs() == [{"name": "y", "shape": ["n", 3], "type": "tensor(float)"}]
    assert model.get_overridable_initializers() == []
    assert model.get_providers() == ["CPUExecutionProvider"] == list(model.get_provider_options())
    meta, theirs = model.get_modelmeta(), session.get_modelmeta()
    assert meta == {name: getattr(theirs, name) for name in meta}
    assert meta["custom_metadata_map"] == {"labels": "a,b"}


def test_run_options_may_be_a_dict() -> None:
    model = OnnxModel(graphs.identity())
    options = {"logid": "mine", "entries": {"disable_synchronize_execution_providers": "1"}}
    assert model.run(None, {"x": floats(2)}, options)[0].shape == (2,)
    with pytest.raises(ValueError, match="run_options\\['nope'\\] is unknown; allowed: log_"):
        model.run(None, {"x": floats(2)}, {"nope": 1})


def test_a_closed_model_says_so_and_closing_twice_is_fine() -> None:
    model = OnnxModel(graphs.identity())
    model.close()
    model.close()
    with pytest.raises(RuntimeError, match="closed"):
        model.run(None, {"x": floats(2)})


def test_a_file_that_is_no_model_fails_as_in_onnxruntime(tmp_path: Any) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"nonsense")
    for made in (lambda: OnnxModel(path), lambda: OnnxModel(str(tmp_path / "none.onnx"))):
        with pytest.raises(Exception, match=r"\[ONNXRuntimeError\]"):
            made()


@pytest.mark.parametrize(
    ("graph", "shapes", "tentative"),
    [
        (graphs.identity((2, 3)), [(2, 3)], False),
        (graphs.identity(("n", 3)), [(1, 3)], True),
        (graphs.add(), [(1,), (1,)], True),
        (graphs.strings(), [(1,), (1,)], True),
    ],
)
def test_a_canary_is_zeros_of_the_declared_shapes_and_certain_where_these_are_numbers(
    graph: bytes, shapes: list[Any], tentative: bool
) -> None:
    model = OnnxModel(graph, threads=1)
    canary = model.canary()
    assert canary is not None and canary["tentative"] is tentative
    assert [array.shape for array in canary["args"][1].values()] == shapes
    assert not any(array.any() for array in canary["args"][1].values())
    assert model.run(*canary["args"])


def test_there_is_no_canary_where_none_can_be_made_up() -> None:
    for graph in (graphs.first_of_a_sequence(), graphs.identity((1 << 13, 1 << 13))):
        assert OnnxModel(graph, threads=1).canary() is None
