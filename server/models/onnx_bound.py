"""A run with inputs and outputs bound as the caller bound them, so that mistakes are onnxruntime's own.

An output with a shape and a dtype is written into a block of the reply; without, onnxruntime allocates it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sharedmodel.reply import empty


def run_bound(
    session: Any,
    inputs: Sequence[tuple[str, Any]],
    outputs: Sequence[tuple[str, Sequence[int] | None, str | None]],
    options: Any,
) -> list[Any]:
    """The outputs, in the order in which they are bound."""
    import onnxruntime

    native = onnxruntime.capi.onnxruntime_pybind11_state
    binding = native.SessionIOBinding(session._sess)
    device = onnxruntime.OrtDevice.make("cpu", 0)._get_c_device()
    # The binding holds addresses only: these lists must outlive it, and do.
    arrays = [(name, np.ascontiguousarray(array)) for name, array in inputs]
    blocks: list[Any] = []
    for name, array in arrays:
        binding.bind_input(name, array)
    for name, shape, dtype in outputs:
        if shape is None:
            blocks.append(None)
            binding.bind_output(name, device)
            continue
        block = empty(tuple(shape), np.dtype(dtype))
        blocks.append(block)
        binding.bind_output(name, device, block.dtype.type, list(shape), block.__array_interface__["data"][0])
    session._sess.run_with_iobinding(binding, options)
    if all(block is not None for block in blocks):
        return blocks
    # Sequences and maps have no `numpy`, strings no block: these are copied by onnxruntime.
    copied = binding.copy_outputs_to_cpu()
    return [made if block is None else block for made, block in zip(copied, blocks, strict=True)]
