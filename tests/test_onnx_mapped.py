"""Weights that are mapped: the same results, hardly any private memory, and a graph that is written once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from onnx import TensorProto, ValueInfoProto, helper, load, load_from_string, save_model

from sharedmodel.client.backing import Wanted
from sharedmodel.outside import refers_outside
from sharedmodel.server.models.made import VARIABLE
from sharedmodel.server.models.onnx import OnnxModel
from sharedmodel.server.models.onnx_mapped import mapped
from tests import onnx_graphs

MB = 1 << 20
X = np.random.default_rng(0).standard_normal((2, 64), dtype=np.float32)

# Loads it, runs it, and tells how much memory became its own meanwhile.
_PROGRAM = """
import sys
import numpy as np
from sharedmodel.server.models.onnx import OnnxModel

def dirty():
    with open("/proc/self/smaps_rollup") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_Dirty"))

import onnxruntime
before = dirty()
model = OnnxModel(sys.argv[1], threads=1, mapped=sys.argv[2] == "mapped")
model.run(None, {"x": np.ones((1, 64), "f4")})
print(dirty() - before)
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    file = tmp_path / "net.onnx"
    file.write_bytes(onnx_graphs.mlp(2048, 3))
    return file


def test_a_mapped_model_gives_the_same_results_and_hardly_takes_private_memory(path: Path) -> None:
    def taken(how: str) -> int:
        command = [sys.executable, "-c", _PROGRAM, str(path), how]
        return int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout)

    weights = path.stat().st_size
    assert weights > 30 * MB
    plain, shared = OnnxModel(str(path), threads=1), OnnxModel(str(path), threads=1, mapped=True)
    np.testing.assert_allclose(shared.run(None, {"x": X})[0], plain.run(None, {"x": X})[0], rtol=1e-4, atol=1e-5)
    assert taken("plain") > weights * 0.9
    assert taken("mapped") < 5 * MB


def test_it_is_written_once_and_again_when_its_content_has_changed(path: Path) -> None:
    first = mapped(str(path))
    made = Path(first).stat()
    assert mapped(str(path)) == first and Path(first).stat().st_mtime_ns == made.st_mtime_ns
    path.write_bytes(onnx_graphs.mlp(512, 3))
    assert mapped(str(path)) != first


def test_one_whose_weights_are_outside_already_is_taken_as_it_is(path: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.onnx"
    save_model(load(path), outside, save_as_external_data=True, location="outside.bin")
    assert mapped(str(outside)) == str(outside)
    assert OnnxModel(str(outside), threads=1, mapped=True).run(None, {"x": X})[0].shape == (2, 64)


@pytest.mark.parametrize("called", ["input", "output", "between", "weights"])
def test_what_is_called_a_location_is_no_file(tmp_path: Path, called: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    path = tmp_path / "net.onnx"
    path.write_bytes(with_a_location(called))
    assert not refers_outside(path.read_bytes()) and mapped(str(path)) != str(path)
    (file,) = Wanted.of("onnx", {}, {"path": str(path)}).with_digests().files.values()
    assert len(file["digest"]) == 64


@pytest.mark.parametrize("called", ["input", "output", "between", "weights"])
@pytest.mark.parametrize("name", ["w", "0.bin", "weights of a model" * 8])
def test_weights_outside_are_found_whatever_they_are_called(tmp_path: Path, called: str, name: str) -> None:
    path = tmp_path / "net.onnx"
    save_model(load_from_string(with_a_location(called)), path, save_as_external_data=True, location=name)
    assert refers_outside(path.read_bytes()) and mapped(str(path)) == str(path)


def with_a_location(called: str) -> bytes:
    """y = x @ w, one of whose names is "location"."""
    x, w, between, y = ("location" if called == each else each for each in ("input", "weights", "between", "output"))

    def info(name: str) -> ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ("n", 64))

    nodes = [helper.make_node("MatMul", [x, w], [between]), helper.make_node("Identity", [between], [y])]
    model = load_from_string(onnx_graphs.build(nodes, [info(x)], [info(y)], {w: np.ones((64, 64), np.float32)}))
    model.graph.value_info.append(info(between))
    helper.set_model_props(model, {"location": "nowhere"})
    return bytes(model.SerializeToString())


def test_what_can_not_be_mapped_is_refused(path: Path, tmp_path: Path) -> None:
    for given, options in ((path.read_bytes(), {}), (str(path), {"in_memory": True})):
        with pytest.raises(ValueError, match="only a model in a file"):
            OnnxModel(given, mapped=True, **options)
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a graph")
    with pytest.raises(RuntimeError, match="could not be split off"):
        mapped(str(broken))
