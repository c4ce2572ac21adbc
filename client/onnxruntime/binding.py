"""IOBinding: which arrays a run reads and writes. It is kept here and goes with each run.

Inputs in shared memory (`InferenceSession.empty`, `OrtValue.ortvalue_from_shape_and_type`) are read
where they lie, others are copied once a run. Outputs come in shared memory; an output that is bound to
memory of this process is copied there. As with onnxruntime, an output that was bound to a device only
keeps the memory that its first run gave it: a later run writes into it, and must have its shape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .values import OrtValue, at_address, check_device, dtype_of

if TYPE_CHECKING:
    from .session import InferenceSession


class IOBinding:
    """The inputs and outputs of a session, bound."""

    def __init__(self, session: InferenceSession) -> None:
        self._session = session
        self._inputs: dict[str, Any] = {}
        self._outputs: dict[str, OrtValue | None] = {}

    def bind_cpu_input(self, name: str, arr_on_cpu: Any) -> None:
        """Read an input from an array, as it is when the run begins."""
        if name not in self._session._input_names:
            raise RuntimeError(f"Failed to find NodeArg with name: {name} in the def list")
        if not isinstance(arr_on_cpu, np.ndarray):
            raise RuntimeError("Unable to create OrtValue from the given python object")
        self._inputs[name] = arr_on_cpu if arr_on_cpu.flags.c_contiguous else arr_on_cpu.copy()

    def bind_input(
        self, name: str, device_type: str, device_id: int, element_type: Any, shape: Any, buffer_ptr: int
    ) -> None:
        """Read an input from an address."""
        self._check_input(name)
        check_device(device_type)
        self._inputs[name] = at_address(buffer_ptr, shape, dtype_of(element_type))

    def bind_ortvalue_input(self, name: str, ortvalue: OrtValue) -> None:
        """Read an input from an OrtValue."""
        value = ortvalue.numpy()
        self._check_input(name)
        self._inputs[name] = value

    def bind_output(
        self,
        name: str,
        device_type: str = "cpu",
        device_id: int = 0,
        element_type: Any = None,
        shape: Any = None,
        buffer_ptr: int | None = None,
    ) -> None:
        """Write an output to an address, or to memory that is made for it."""
        if buffer_ptr is None:
            check_device(device_type, allocates=False)
            self._outputs[name] = None
            return
        if element_type is None or shape is None:
            raise ValueError("`element_type` and `shape` are to be provided if pre-allocated memory is provided")
        check_device(device_type)
        self._outputs[name] = OrtValue(at_address(buffer_ptr, shape, dtype_of(element_type)))

    def bind_ortvalue_output(self, name: str, ortvalue: OrtValue) -> None:
        """Write an output to an OrtValue."""
        ortvalue.numpy()
        self._outputs[name] = ortvalue

    def get_outputs(self) -> list[OrtValue]:
        """The outputs, in the order in which they were bound."""
        return [value for value in self._outputs.values() if value is not None]

    def copy_outputs_to_cpu(self) -> list[Any]:
        """Copies of the outputs."""
        values = [value._value for value in self.get_outputs()]
        return [value.copy() if isinstance(value, np.ndarray) else value for value in values]

    def clear_binding_inputs(self) -> None:
        self._inputs.clear()

    def clear_binding_outputs(self) -> None:
        self._outputs.clear()

    def synchronize_inputs(self) -> None:
        """Nothing to wait for."""

    def synchronize_outputs(self) -> None:
        """Nothing to wait for: a run has ended when it returns."""

    def _check_input(self, name: str) -> None:
        if name not in self._session._input_names:
            raise RuntimeError(f"Error when binding input: Failed to find input name in the mapping: {name}")

    def _bound(self) -> list[tuple[str, list[int] | None, str | None]]:
        """The outputs as they go with a run: name, shape and type, where those are settled."""
        bound: list[tuple[str, list[int] | None, str | None]] = []
        for name, value in self._outputs.items():
            array = None if value is None else value._value
            if isinstance(array, np.ndarray) and not array.dtype.hasobject:
                bound.append((name, list(array.shape), array.dtype.str))
            else:
                bound.append((name, None, None))
        return bound

    def _take(self, results: list[Any]) -> None:
        """What a run gave."""
        for name, result in zip(list(self._outputs), results, strict=True):
            value = self._outputs[name]
            if value is None:
                self._outputs[name] = OrtValue(result)
            elif isinstance(value._value, np.ndarray) and not value._value.dtype.hasobject:
                value._value[...] = result
            else:
                value._value = result
