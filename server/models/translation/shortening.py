"""Graphs' weights in 8 bits; run as a process of its own, on what `graphs` has made (see `exports`).

Products with constant weights become onnxruntime's `MatMulNBits`. Weights share a scale in blocks of 32, and so
do activations, which are rounded as they come: each row for itself, so that it changes nothing who shares a run
(of onnxruntime's dynamic quantization that is not so: it has one scale for all rows).
"""

from __future__ import annotations

import os
import sys
from typing import Any, Final

import numpy as np

from sharedmodel.tensor import Array

from .weights import lay_out

_BLOCK: Final = 32
_ZERO: Final = 128  # where nothing else is said, in 8 bits
_AS_BYTES: Final = 4  # accuracy level: activations as 8 bits too


def make(graphs: str, to: str) -> None:
    """Fill a new folder with the graphs of another."""
    import onnx

    os.mkdir(to)
    paths = []
    for name in ("encoder.onnx", "decoder.onnx"):
        model = onnx.load(os.path.join(graphs, name))
        shorten(model)
        paths.append(os.path.join(to, name))
        onnx.save(model, paths[-1])
    lay_out(paths)


def shorten(model: Any) -> None:
    """Do it to one graph."""
    from onnx import helper, numpy_helper

    graph = model.graph
    constants = {one.name: one for one in graph.initializer}
    nodes = []
    for node in graph.node:
        if not _fits(node, constants):
            nodes.append(node)
            continue
        weights = numpy_helper.to_array(constants[node.input[1]])
        if node.op_type == "MatMul":
            weights = weights.T
        blocks, scales = rounded(weights)
        name = node.output[0]
        graph.initializer.append(numpy_helper.from_array(blocks, f"{name}_blocks"))
        graph.initializer.append(numpy_helper.from_array(scales, f"{name}_scales"))
        bias = ["", "", node.input[2]] if len(node.input) > 2 else []
        nodes.append(
            helper.make_node(
                "MatMulNBits", [node.input[0], f"{name}_blocks", f"{name}_scales", *bias], [name],
                domain="com.microsoft", K=weights.shape[1], N=weights.shape[0], bits=8, block_size=_BLOCK,
                accuracy_level=_AS_BYTES,
            )
        )  # fmt: skip
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [one for one in graph.initializer if one.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def rounded(weights: Array) -> tuple[Array, Array]:
    """Weights (outputs, inputs) as blocks (outputs, blocks, 32) of uint8 and scales (outputs * blocks) of float32."""
    outputs, inputs = weights.shape
    count = -(-inputs // _BLOCK)
    padded = np.zeros((outputs, count * _BLOCK), np.float32)
    padded[:, :inputs] = weights
    blocks = padded.reshape(outputs, count, _BLOCK)
    scales = np.abs(blocks).max(axis=2) / np.float32(_ZERO - 1)
    steps = np.divide(blocks, scales[:, :, None], out=np.zeros_like(blocks), where=scales[:, :, None] > 0)
    return (np.rint(steps) + _ZERO).astype(np.uint8), scales.reshape(-1).astype(np.float32)


def _fits(node: Any, constants: dict[str, Any]) -> bool:
    """Whether it is a product with constant weights, as a linear layer is."""
    if node.op_type not in ("MatMul", "Gemm") or node.input[1] not in constants:
        return False
    if len(constants[node.input[1]].dims) != 2:
        return False
    told = {one.name: one for one in node.attribute}
    return node.op_type == "MatMul" or ("transB" in told and told["transB"].i == 1)


if __name__ == "__main__":
    make(*sys.argv[1:])
