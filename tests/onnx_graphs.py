"""Small ONNX graphs built in memory, as test fixtures: each function returns model bytes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Dims = Sequence[int | str | None]
_FLOAT = TensorProto.FLOAT
# What onnxruntime of every supported version can read.
_OPSET = 17
_IR = 8


def _info(name: str, dims: Dims | None, kind: int = _FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, dims)


def build(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    weights: dict[str, np.ndarray] | None = None,
    metadata: dict[str, str] | None = None,
    checked: bool = True,
) -> bytes:
    stored = [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()]
    graph = helper.make_graph(list(nodes), "tiny", list(inputs), list(outputs), stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], producer_name="sharedmodel tests")
    model.ir_version = _IR
    helper.set_model_props(model, metadata or {})
    if checked:
        onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def identity(dims: Dims = ("n",), kind: int = _FLOAT, metadata: dict[str, str] | None = None) -> bytes:
    """y = x, of any element type."""
    return build(
        [helper.make_node("Identity", ["x"], ["y"])],
        [_info("x", dims, kind)],
        [_info("y", dims, kind)],
        metadata=metadata,
    )


def add(dims: Dims = ("n",), kind: int = _FLOAT) -> bytes:
    """z = x + y."""
    return build(
        [helper.make_node("Add", ["x", "y"], ["z"])],
        [_info("x", dims, kind), _info("y", dims, kind)],
        [_info("z", dims, kind)],
    )


def mlp(width: int = 1024, layers: int = 8, features: int = 64) -> bytes:
    """(batch, features) to (batch, features) through `layers` square layers of `width`.

    Its cost grows with layers * width**2; `mlp()` takes milliseconds for a batch of 32.
    """
    rng = np.random.default_rng(7)
    sizes = [features, *([width] * layers), features]
    nodes, weights, last = [], {}, "x"
    for at, (rows, columns) in enumerate(pairwise(sizes)):
        scale = np.float32(np.sqrt(2.0 / rows))
        weights[f"w{at}"] = rng.standard_normal((rows, columns), dtype=np.float32) * scale
        weights[f"b{at}"] = rng.standard_normal(columns, dtype=np.float32) * np.float32(0.01)
        nodes.append(helper.make_node("Gemm", [last, f"w{at}", f"b{at}"], [f"g{at}"]))
        last = f"g{at}"
        if at < layers:
            nodes.append(helper.make_node("Relu", [last], [f"r{at}"]))
            last = f"r{at}"
    nodes.append(helper.make_node("Identity", [last], ["y"]))
    return build(nodes, [_info("x", ("batch", features))], [_info("y", ("batch", features))], weights)


def cnn(channels: int = 40, layers: int = 6) -> bytes:
    """Pictures (batch, 3, 224, 224) to (batch, channels) through 3x3 convolutions on 112x112 pixels.

    A layer takes some 2 milliseconds a picture on one core of 2025.
    """
    rng = np.random.default_rng(3)
    nodes, weights, last, depth = [], {}, "x", 3
    for at in range(layers):
        scale = np.float32(np.sqrt(2.0 / (9 * depth)))
        weights[f"w{at}"] = rng.standard_normal((channels, depth, 3, 3), dtype=np.float32) * scale
        strides = [2, 2] if at == 0 else [1, 1]
        nodes.append(helper.make_node("Conv", [last, f"w{at}"], [f"c{at}"], pads=[1, 1, 1, 1], strides=strides))
        nodes.append(helper.make_node("Relu", [f"c{at}"], [f"r{at}"]))
        last, depth = f"r{at}", channels
    nodes.append(helper.make_node("GlobalAveragePool", [last], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["y"]))
    return build(nodes, [_info("x", ("batch", 3, 224, 224))], [_info("y", ("batch", channels))], weights)


def several_outputs() -> bytes:
    """From x (batch, 4): sum (batch), twice x, the shape of x, and a constant."""
    weights = {"two": np.float32(2), "axes": np.array([1]), "fixed": np.arange(3, dtype=np.int64)}
    return build(
        [
            helper.make_node("ReduceSum", ["x", "axes"], ["total"], keepdims=0),
            helper.make_node("Mul", ["x", "two"], ["double"]),
            helper.make_node("Shape", ["x"], ["shape"]),
            helper.make_node("Identity", ["fixed"], ["constant"]),
        ],
        [_info("x", ("batch", 4))],
        [
            _info("total", ("batch",)),
            _info("double", ("batch", 4)),
            _info("shape", (2,), TensorProto.INT64),
            _info("constant", (3,), TensorProto.INT64),
        ],
        {name: np.asarray(value) for name, value in weights.items()},
    )


def shape_of() -> bytes:
    """The shape of x (n, 4), which costs no memory at any size."""
    return build(
        [helper.make_node("Shape", ["x"], ["shape"])],
        [_info("x", ("n", 4))],
        [_info("shape", (2,), TensorProto.INT64)],
    )


def unnamed_shape() -> bytes:
    """y = [x, x], whose length the graph does not state: it can only be learnt."""
    return build(
        [helper.make_node("Concat", ["x", "x"], ["y"], axis=0)],
        [_info("x", ("n", 2))],
        [_info("y", (None, 2))],
    )


def data_dependent() -> bytes:
    """The places of the non-zero elements: how many there are depends on the values."""
    return build(
        [helper.make_node("NonZero", ["x"], ["at"])],
        [_info("x", ("n",))],
        [_info("at", (1, "found"), TensorProto.INT64)],
    )


def wrongly_named() -> bytes:
    """Claims that y is as long as x, when it is twice that: a prediction goes wrong."""
    return build(
        [helper.make_node("Concat", ["x", "x"], ["y"], axis=0)],
        [_info("x", ("n",))],
        [_info("y", ("n",))],
    )


def strings() -> bytes:
    """A string tensor in and out, beside a number."""
    return build(
        [helper.make_node("Identity", ["word"], ["same"]), helper.make_node("Neg", ["x"], ["y"])],
        [_info("word", ("n",), TensorProto.STRING), _info("x", ("n",))],
        [_info("same", ("n",), TensorProto.STRING), _info("y", ("n",))],
    )


def sequence() -> bytes:
    """x split along its first axis: a sequence of tensors, which is no tensor."""
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(_FLOAT, None))
    return build(
        [helper.make_node("SplitToSequence", ["x"], ["parts"], axis=0)],
        [_info("x", ("n", 2))],
        [helper.make_value_info("parts", kind)],
    )


def first_of_a_sequence() -> bytes:
    """The first tensor of a sequence that is given."""
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(_FLOAT, ("n",)))
    return build(
        [helper.make_node("SequenceAt", ["parts", "at"], ["y"])],
        [helper.make_value_info("parts", kind)],
        [_info("y", ("n",))],
        {"at": np.array(0, np.int64)},
    )


def square(width: int = 4) -> bytes:
    """x (n, m) times a square matrix: m has to be its width, and does not say so."""
    weights = {"w": np.eye(width, dtype=np.float32)}
    return build(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], [_info("x", ("n", "m"))], [_info("y", ("n", width))], weights
    )


def reshape() -> bytes:
    """x in the shape that is given as data: a wrong one fails while the model runs."""
    return build(
        [helper.make_node("Reshape", ["x", "to"], ["y"])],
        [_info("x", ("n",)), _info("to", ("rank",), TensorProto.INT64)],
        [_info("y", None)],
        checked=False,  # onnx wants every output's rank stated, onnxruntime does not
    )


def counting() -> bytes:
    """Counts to `limit` one step at a time: runs as long as wanted, to be cancelled."""
    body = helper.make_graph(
        [
            helper.make_node("Add", ["before", "one"], ["after"]),
            helper.make_node("Identity", ["go"], ["go_on"]),
        ],
        "step",
        [
            _info("at", (), TensorProto.INT64),
            _info("go", (), TensorProto.BOOL),
            _info("before", (1,)),
        ],
        [_info("go_on", (), TensorProto.BOOL), _info("after", (1,))],
        [numpy_helper.from_array(np.ones(1, np.float32), "one")],
    )
    return build(
        [helper.make_node("Loop", ["limit", "", "x"], ["y"], body=body)],
        [_info("limit", (), TensorProto.INT64), _info("x", (1,))],
        [_info("y", (1,))],
    )


def lookup(entries: int = 10) -> bytes:
    """Rows (n, 4) of a table by number (n): a number beyond it fails while the model runs."""
    table = np.arange(entries * 4, dtype=np.float32).reshape(entries, 4)
    return build(
        [helper.make_node("Gather", ["table", "x"], ["y"], axis=0)],
        [_info("x", ("n",), TensorProto.INT64)],
        [_info("y", ("n", 4))],
        {"table": table},
    )
