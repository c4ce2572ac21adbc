"""`sharedmodel.client.onnxruntime` against onnxruntime in the same process: the same bits, the same errors."""

from __future__ import annotations

import collections
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ort = pytest.importorskip("onnxruntime")

from onnxruntime.capi import onnxruntime_pybind11_state as real_errors  # noqa: E402

import sharedmodel.client.onnxruntime as standin  # noqa: E402
from sharedmodel.client.onnxruntime.capi import onnxruntime_pybind11_state as twin_errors  # noqa: E402
from tests import onnx_graphs as graphs  # noqa: E402
from tests.both import alike, embedded_host, outcome  # noqa: E402
from tests.servers import Server  # noqa: E402


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with embedded_host() as server:
        yield server


@pytest.fixture(autouse=True)
def reached(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHAREDMODEL_ADDRESS", server.address)


def floats(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(3).standard_normal(shape, dtype=np.float32)


def both(graph: bytes) -> tuple[Any, Any]:
    return standin.InferenceSession(graph), ort.InferenceSession(graph)


CASES: dict[str, tuple[Callable[[], bytes], Any, Any]] = {
    "identity": (graphs.identity, None, {"x": floats(5)}),
    "an empty tensor": (graphs.identity, None, {"x": floats(0)}),
    "add": (graphs.add, None, {"x": floats(7), "y": floats(7)}),
    "broadcasting": (graphs.add, None, {"x": floats(7), "y": floats(1)}),
    "large": (graphs.add, None, {"x": floats(300_000), "y": floats(300_000)}),
    "an mlp": (lambda: graphs.mlp(64, 3), None, {"x": floats(9, 64)}),
    "several outputs": (graphs.several_outputs, None, {"x": floats(3, 4)}),
    "some outputs": (graphs.several_outputs, ("double", "total"), {"x": floats(3, 4)}),
    "an output twice": (graphs.several_outputs, ["total", "total"], {"x": floats(3, 4)}),
    "no names": (graphs.several_outputs, [], {"x": floats(3, 4)}),
    "a name in an array": (graphs.identity, np.array(["y"]), {"x": floats(2)}),
    "an unnamed shape": (graphs.unnamed_shape, None, {"x": floats(3, 2)}),
    "a shape that depends on the data": (graphs.data_dependent, None, {"x": np.array([0, 1, 1], "f4")}),
    "a sequence": (graphs.sequence, None, {"x": floats(2, 2)}),
    "a reshape": (graphs.reshape, None, {"x": floats(6), "to": np.array([2, 3])}),
    "a list for an array": (graphs.identity, None, {"x": [1.0, 2.0]}),
    "not contiguous": (graphs.identity, None, {"x": floats(8)[::2]}),
    "Fortran order": (graphs.several_outputs, None, {"x": np.asfortranarray(floats(3, 4))}),
    "a subclass of array": (graphs.identity, None, {"x": floats(5).view(np.recarray)}),
    "an ordered dict": (graphs.identity, None, collections.OrderedDict(x=floats(5))),
    "strings": (graphs.strings, None, {"word": np.array(["ab", "ü"]), "x": floats(2)}),
    "strings as objects": (graphs.strings, None, {"word": np.array(["ab", "c\0"], object), "x": floats(2)}),
    "other things as strings": (graphs.strings, None, {"word": np.array([None, 1], object), "x": floats(2)}),
    "a list of strings": (graphs.strings, None, {"word": ["ab", ""], "x": floats(2)}),
    "bytes": (graphs.strings, ["same"], {"word": np.array([b"ab", b"c"], object), "x": floats(2)}),
}


@pytest.mark.parametrize("case", CASES)
def test_every_result_is_that_of_onnxruntime(case: str) -> None:
    make, names, feed = CASES[case]
    ours, theirs = both(make())
    for _ in range(3):
        alike(ours.run(names, feed), theirs.run(names, feed))


MISTAKES: dict[str, tuple[Callable[[], bytes], Any, Any]] = {
    "a missing input": (graphs.add, None, {"x": floats(2)}),
    "an unknown input": (graphs.identity, None, {"x": floats(2), "q": floats(2)}),
    "an unknown output": (graphs.identity, ["nope"], {"x": floats(2)}),
    "a name for a list of names": (graphs.identity, "y", {"x": floats(2)}),
    "numbers for names": (graphs.identity, [3], {"x": floats(2)}),
    "a wrong type": (graphs.identity, None, {"x": np.ones(2)}),
    "a wrong rank": (graphs.identity, None, {"x": floats(2, 2)}),
    "a wrong dimension": (graphs.several_outputs, None, {"x": floats(2, 3)}),
    "shapes that don't add": (graphs.add, None, {"x": floats(2), "y": floats(3)}),
    "a float": (graphs.identity, None, {"x": 1.0}),
    "a scalar of numpy": (graphs.identity, None, {"x": np.float32(1)}),
    "None": (graphs.identity, None, {"x": None}),
    "an object": (graphs.identity, None, {"x": object()}),
    "a set": (graphs.identity, None, {"x": {1.0}}),
    "no dict": (graphs.identity, None, [1]),
    "objects for numbers": (graphs.identity, None, {"x": np.array([1.0, 2.0], object)}),
    "a failure while running": (graphs.reshape, None, {"x": floats(5), "to": np.array([2, 3])}),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_raises_what_onnxruntime_raises(case: str) -> None:
    make, names, feed = MISTAKES[case]
    ours, theirs = both(make())
    expected = outcome(lambda: theirs.run(names, feed))
    assert outcome(lambda: ours.run(names, feed)) == expected
    assert isinstance(expected, tuple), "it is no mistake"


def unknown_operator() -> bytes:
    node = graphs.helper.make_node("Nope", ["x"], ["y"])
    return graphs.build([node], [graphs._info("x", ("n",))], [graphs._info("y", ("n",))], checked=False)


def unimplemented_type() -> bytes:
    kind = graphs.TensorProto.BFLOAT16
    node = graphs.helper.make_node("Add", ["x", "x"], ["y"])
    return graphs.build([node], [graphs._info("x", ("n",), kind)], [graphs._info("y", ("n",), kind)], checked=False)


NO_MODELS: dict[str, Callable[[], Any]] = {
    "no file": lambda: "nope.onnx",
    "no file, as a path": lambda: Path("nope.onnx"),
    "a folder": lambda: "/",
    "a file without a model": lambda: "junk.onnx",
    "a file with a wrong model": lambda: "wrong.onnx",
    "bytes without a model": lambda: b"junk",
    "no bytes": lambda: b"",
    "an unknown operator": unknown_operator,
    "a type without an implementation": unimplemented_type,
    "a number": lambda: 3,
    "None": lambda: None,
    "a bytearray": lambda: bytearray(b"junk"),
}


@pytest.mark.parametrize("case", NO_MODELS)
def test_what_is_no_model_raises_what_onnxruntime_raises(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("junk.onnx").write_bytes(b"junk")
    Path("wrong.onnx").write_bytes(unknown_operator())
    source = NO_MODELS[case]()
    expected = outcome(lambda: ort.InferenceSession(source))
    assert outcome(lambda: standin.InferenceSession(source)) == expected
    assert isinstance(expected, tuple), "it is a model"


def test_exceptions_are_caught_by_the_twins_and_by_the_real_classes() -> None:
    session = standin.InferenceSession(graphs.identity())
    with pytest.raises(twin_errors.InvalidArgument):
        session.run(None, {"x": np.ones(2)})
    with pytest.raises(real_errors.InvalidArgument):
        session.run(None, {"x": np.ones(2)})
    with pytest.raises(real_errors.NoSuchFile):
        standin.InferenceSession("nope.onnx")


def test_there_is_a_twin_of_every_exception() -> None:
    names = {name for name, kind in vars(real_errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert names == set(twin_errors._TWINS)


def test_a_session_tells_of_itself_what_onnxruntime_tells() -> None:
    graph = graphs.several_outputs()
    ours, theirs = both(graph)
    for method in ("get_inputs", "get_outputs", "get_overridable_initializers"):
        told, expected = getattr(ours, method)(), getattr(theirs, method)()
        assert list(map(str, told)) == list(map(str, expected))
        assert [(a.name, a.shape, a.type) for a in told] == [(a.name, a.shape, a.type) for a in expected]
    assert ours.get_providers() == theirs.get_providers()
    assert ours.get_provider_options() == theirs.get_provider_options()
    names = [name for name in dir(theirs.get_modelmeta()) if not name.startswith("_")]
    assert names == [name for name in dir(ours.get_modelmeta()) if not name.startswith("_")]
    for name in names:
        assert getattr(ours.get_modelmeta(), name) == getattr(theirs.get_modelmeta(), name)
    assert ours.end_profiling() == theirs.end_profiling() == ""


def test_the_library_tells_of_itself_what_onnxruntime_tells() -> None:
    for name in ("get_available_providers", "get_all_providers", "get_device", "get_version_string", "get_build_info"):
        assert getattr(standin, name)() == getattr(ort, name)()
    assert standin.__version__ == ort.__version__
    standin.set_default_logger_severity(3)
    with pytest.raises(RuntimeError, match="Invalid logging severity"):
        standin.set_default_logger_severity(9)
    with pytest.raises(AttributeError, match="ModelCompiler is not part of this stand-in"):
        standin.ModelCompiler  # noqa: B018


def test_weights_beside_the_model_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnx

    model = onnx.load_from_string(graphs.mlp(16, 1))
    onnx.save_model(model, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    feed = {"x": floats(2, 64)}
    expected = ort.InferenceSession(tmp_path / "m.onnx").run(None, feed)
    link = tmp_path / "link"
    os.symlink(tmp_path, link)
    alike(standin.InferenceSession(link / "m.onnx").run(None, feed), expected)
    # Of a model that is given as bytes they lie in the working directory.
    data = (tmp_path / "m.onnx").read_bytes()
    monkeypatch.chdir(tmp_path)
    alike(standin.InferenceSession(data).run(None, feed), expected)
