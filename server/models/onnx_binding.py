"""Runs an onnxruntime session on memory that is already there: inputs read, outputs written.

Each call makes its own binding (0.6 µs): that is cheaper than guarding shared ones, and any
number of threads may be inside at once. It uses the native binding class: onnxruntime's Python
wrapper around it costs 25 µs a call.

All is bound as main memory, where the session runs on a GPU too: onnxruntime copies to and fro then.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sharedmodel.reply import empty
from sharedmodel.server.models.onnx_options import FATAL
from sharedmodel.server.models.shapes import Key, ShapeBook

# Element types that can be bound by address; the rest (strings, bfloat16, 4-bit ...) run plainly.
_BINDABLE = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int8)": np.int8,
    "tensor(int16)": np.int16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8,
    "tensor(uint16)": np.uint16,
    "tensor(uint32)": np.uint32,
    "tensor(uint64)": np.uint64,
    "tensor(bool)": np.bool_,
}
# How a run that was ended says so; and how the same error begins in place, and in a plain run.
_TERMINATED = "terminate flag being set to true"
_IN_PLACE = "Error in execution: "
_FAILED = "[ONNXRuntimeError] : 1 : FAIL : "

Array = np.ndarray[Any, Any]
Wanted = list[tuple[str, int, np.dtype[Any]]]


class BoundSession:
    """One session and what is known of its outputs' shapes."""

    def __init__(self, session: Any) -> None:
        import onnxruntime

        native = onnxruntime.capi.onnxruntime_pybind11_state
        inputs, outputs = session.get_inputs(), session.get_outputs()
        self._session = session
        self._binding = native.SessionIOBinding
        self._fail = native.Fail
        self._device = onnxruntime.OrtDevice.make("cpu", 0)._get_c_device()
        self._inputs = [(arg.name, dtype_of(arg.type)) for arg in inputs]
        self._outputs = {arg.name: (at, dtype_of(arg.type)) for at, arg in enumerate(outputs)}
        self._all = [(name, at, dtype) for name, (at, dtype) in self._outputs.items() if dtype is not None]
        self._shapes = ShapeBook([arg.shape for arg in inputs], [arg.shape for arg in outputs])

    def run(self, names: Sequence[str] | None, feed: Mapping[str, Any], options: Any) -> list[Any]:
        """What `session.run(names, feed, options)` gives, or the error that it raises."""
        arrays, wanted = self._fitting(feed), self._wanted(names)
        if arrays is None or wanted is None:
            return list(self._session.run(names, feed, options))
        key = tuple([array.shape for array in arrays])
        level = options.log_severity_level
        # A failure in place is not yet the caller's: the plain run after it reports it.
        options.log_severity_level = FATAL
        try:
            return self._run_in_place(arrays, wanted, options, key)
        except Exception as exc:
            if options.terminate and _TERMINATED in str(exc):
                raise self._fail(f"{_FAILED}{str(exc).removeprefix(_IN_PLACE)}") from None
            options.log_severity_level = level
            return self._run_plainly(arrays, wanted, options, key)
        finally:
            options.log_severity_level = level

    def _fitting(self, feed: Mapping[str, Any]) -> list[Array] | None:
        """The inputs in the model's order, or None unless each can be bound where it lies."""
        if not isinstance(feed, dict) or len(feed) != len(self._inputs):
            return None
        arrays = []
        for name, dtype in self._inputs:
            array = feed.get(name)
            if dtype is None or not isinstance(array, np.ndarray) or array.dtype != dtype:
                return None
            # onnxruntime copies the others as well: it reads C order only.
            arrays.append(array if array.flags.c_contiguous else array.copy(order="C"))
        return arrays

    def _wanted(self, names: Sequence[str] | None) -> Wanted | None:
        """(name, position, type) of each requested output, or None unless all can be bound."""
        if names is None and len(self._all) == len(self._outputs):
            return self._all
        if isinstance(names, str):
            return None
        found = []
        for name in names or self._outputs:
            at, dtype = self._outputs.get(name, (0, None))
            if dtype is None:
                return None
            found.append((name, at, dtype))
        # Asked for twice, an output would be bound once.
        return found if not names or len(set(names)) == len(found) else None

    def _run_in_place(self, arrays: list[Array], wanted: Wanted, options: Any, key: Key) -> list[Any]:
        native = self._session._sess
        binding = self._binding(native)
        # The binding holds addresses only: `arrays` and `results` must outlive it, and do.
        results: list[Any] = []
        unknown = False
        shapes = self._shapes.predict(key)
        for (name, _), array in zip(self._inputs, arrays, strict=True):
            binding.bind_input(name, array)
        for name, at, dtype in wanted:
            shape = shapes[at]
            if shape is None:
                unknown = True
                results.append(None)
                binding.bind_output(name, self._device)
            else:
                block = empty(shape, dtype)
                results.append(block)
                address = block.__array_interface__["data"][0]
                binding.bind_output(name, self._device, dtype.type, shape, address)
        native.run_with_iobinding(binding, options)
        if unknown:
            self._collect(binding, results, wanted, key)
        return results

    def _collect(self, binding: Any, results: list[Any], wanted: Wanted, key: Key) -> None:
        """Fetches what onnxruntime allocated itself, and remembers how large it was."""
        values = binding.get_outputs()
        for place, (_, at, _dtype) in enumerate(wanted):
            if results[place] is None:
                results[place] = values[place].numpy()
                self._shapes.learn(key, at, results[place].shape)

    def _run_plainly(self, arrays: list[Array], wanted: Wanted, options: Any, key: Key) -> list[Any]:
        """The last word after a failure in place: its result, or its error, is the answer."""
        predicted = list(self._shapes.predict(key))
        feed = {name: array for (name, _), array in zip(self._inputs, arrays, strict=True)}
        results = list(self._session.run([name for name, _, _ in wanted], feed, options))
        surprised = False
        for (_, at, _dtype), result in zip(wanted, results, strict=True):
            if predicted[at] is not None and predicted[at] != result.shape:
                self._shapes.learn(key, at, result.shape)
                surprised = True
        if not surprised:  # shaped as predicted, and yet it can't be written in place
            for _, at, _dtype in wanted:
                self._shapes.give_up(at)
        return results


def zeros(arg: Any) -> Array | None:
    """An input of zeros (or empty strings), symbolic dimensions taken as 1. None where numpy has no such type."""
    if arg.type == "tensor(string)":
        return np.full(_smallest(arg), "", object)
    dtype = dtype_of(arg.type)
    return None if dtype is None else np.zeros(_smallest(arg), dtype)


def nbytes(arg: Any) -> int:
    """The size of those zeros."""
    return math.prod(_smallest(arg)) * (dtype_of(arg.type) or np.dtype(object)).itemsize


def _smallest(arg: Any) -> tuple[int, ...]:
    return tuple(dim if isinstance(dim, int) else 1 for dim in arg.shape)


def dtype_of(kind: str) -> np.dtype[Any] | None:
    bindable = _BINDABLE.get(kind)
    return None if bindable is None else np.dtype(bindable)
