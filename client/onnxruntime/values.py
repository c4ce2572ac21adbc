"""OrtValue and OrtDevice: a tensor of this process, of the processor's memory, which is all there is here.

Tensors made by shape lie in memory that the host shares where a session is open: bound or given to a
run, they are not copied.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from sharedmodel.client.refusing import refuse, refused
from sharedmodel.sessions import SESSIONS

Array = np.ndarray[Any, Any]

# numpy's types by onnx's numbers for them, and onnxruntime's names.
_BY_NUMBER: Final = {
    1: np.float32, 2: np.uint8, 3: np.int8, 4: np.uint16, 5: np.int16, 6: np.int32, 7: np.int64,
    9: np.bool_, 10: np.float16, 11: np.double, 12: np.uint32, 13: np.uint64,
}  # fmt: skip
_NAMES: Final = {"float32": "float", "float64": "double"}
_NO_DEVICE: Final = (
    "Can't allocate memory on the device using this package of OnnxRuntime. Please use the appropriate package of "
    "OnnxRuntime for your hardware to use this feature."
)
_DEVICES: Final = ("cpu", "cuda", "cann", "dml", "webgpu", "gpu", "npu")


def check_device(name: str, *, allocates: bool = True) -> None:
    """Raises as onnxruntime for a device that there is not, or that is not the processor."""
    if name not in _DEVICES:
        raise Exception("Unsupported device type: " + name)
    if name != "cpu" and allocates:
        raise RuntimeError(_NO_DEVICE)


def dtype_of(element_type: Any) -> np.dtype[Any]:
    """numpy's type for what onnxruntime takes as an element type: numpy's, or onnx's number."""
    if isinstance(element_type, int) and not isinstance(element_type, bool):
        if element_type not in _BY_NUMBER:
            refuse(f"element type {element_type}", "numpy has no such type")
        return np.dtype(_BY_NUMBER[element_type])
    try:
        found: np.dtype[Any] = np.dtype(element_type)
    except TypeError:
        raise RuntimeError("Not a valid numpy type") from None
    return found


def shared_empty(shape: Sequence[int], dtype: np.dtype[Any]) -> Array:
    """An array in memory that a host shares, or a plain one where this process has no session."""
    for session in SESSIONS.living():
        array = session.empty(tuple(shape), dtype)
        if array is not None:
            return array
    return np.empty(tuple(shape), dtype)


def at_address(address: int, shape: Sequence[int], dtype: np.dtype[Any]) -> Array:
    """The array that lies at an address: in shared memory where it does, so that it is not copied."""
    nbytes = math.prod(shape) * dtype.itemsize
    for session in SESSIONS.living():
        found = session.channel.requests.roots.at(address, nbytes)
        if found is not None:
            shared: Array = found.view(dtype).reshape(shape)
            return shared
    if not nbytes:
        return np.empty(tuple(shape), dtype)
    memory: Any = (ctypes.c_char * nbytes).from_address(address)
    private: Array = np.frombuffer(memory, dtype).reshape(shape)
    return private


class OrtDevice:
    """A device; only the processor has tensors here."""

    def __init__(self, name: str, device_id: int) -> None:
        self._name = name
        self._id = device_id

    @staticmethod
    def make(ort_device_name: str, device_id: int, vendor_id: int = -1) -> OrtDevice:
        check_device(ort_device_name, allocates=False)
        return OrtDevice(ort_device_name, device_id)

    def device_id(self) -> int:
        return self._id

    def device_type(self) -> int:
        return 0 if self._name == "cpu" else 1


class OrtValue:
    """A tensor, or a sequence or map that a model gave."""

    def __init__(self, value: Any) -> None:
        self._value = value

    @classmethod
    def ortvalue_from_numpy(
        cls, numpy_obj: Any, /, device_type: str = "cpu", device_id: int = 0, vendor_id: int = -1
    ) -> OrtValue:
        """A tensor that is this array: the same memory, where it is contiguous."""
        if not isinstance(numpy_obj, np.ndarray) or numpy_obj.dtype.kind in "OUS":
            raise RuntimeError("Creation of OrtValues is currently only supported from non-string numpy arrays")
        check_device(device_type)
        return cls(numpy_obj if numpy_obj.flags.c_contiguous else numpy_obj.copy())

    @classmethod
    def ortvalue_from_shape_and_type(
        cls,
        shape: Sequence[int],
        element_type: Any,
        device_type: str = "cpu",
        device_id: int = 0,
        vendor_id: int = -1,
        memory_info: Any = None,
    ) -> OrtValue:
        """An uninitialised tensor, in shared memory."""
        check_device(device_type)
        return cls(shared_empty(shape, dtype_of(element_type)))

    @classmethod
    def from_dlpack(cls, data: Any, /) -> OrtValue:
        """A tensor that shares memory with another library's."""
        if not hasattr(data, "__dlpack__"):
            refuse("OrtValue.from_dlpack of a capsule", "give the tensor itself")
        return cls(np.from_dlpack(data))

    ortvalue_from_numpy_with_onnx_type = refused(
        "OrtValue.ortvalue_from_numpy_with_onnx_type", "types that numpy does not have do not cross"
    )
    ort_value_from_sparse_tensor = refused("OrtValue.ort_value_from_sparse_tensor", "sparse tensors do not cross")
    as_sparse_tensor = refused("OrtValue.as_sparse_tensor", "sparse tensors do not cross")

    def numpy(self) -> Array:
        """The tensor as an array; the same memory. Raises RuntimeError for what is no tensor."""
        if not isinstance(self._value, np.ndarray):
            raise RuntimeError("Only OrtValues that are Tensors are currently supported")
        return self._value

    def update_inplace(self, data: Any) -> None:
        """Copy an array's bytes, or another OrtValue's, into this one."""
        if isinstance(data, OrtValue):
            data = data.numpy()
        if not isinstance(data, np.ndarray):
            raise TypeError("data must be a numpy.ndarray or an OrtValue.")
        own = self.numpy()
        if data.size != own.size:
            raise RuntimeError("The input size of numpy arrays does not match the size of the OrtValue.")
        raw = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
        own.reshape(-1).view(np.uint8)[...] = raw[: own.nbytes]

    def shape(self) -> list[int]:
        return list(self.numpy().shape)

    def data_ptr(self) -> int:
        return int(self.numpy().__array_interface__["data"][0])

    def device_name(self) -> str:
        return "cpu"

    def data_type(self) -> str:
        name = self.numpy().dtype.name
        return f"tensor({'string' if self._value.dtype.hasobject else _NAMES.get(name, name)})"

    def element_type(self) -> int:
        dtype = self.numpy().dtype
        return 8 if dtype.hasobject else next(n for n, kind in _BY_NUMBER.items() if np.dtype(kind) == dtype)

    def tensor_size_in_bytes(self) -> int:
        return int(self.numpy().nbytes)

    def has_value(self) -> bool:
        return self._value is not None

    def is_tensor(self) -> bool:
        return isinstance(self._value, np.ndarray)

    def is_sparse_tensor(self) -> bool:
        return False

    def is_tensor_sequence(self) -> bool:
        return isinstance(self._value, list) and all(isinstance(item, np.ndarray) for item in self._value)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.numpy(), dtype, copy=copy)

    def __dlpack__(self, *, stream: Any = None) -> Any:
        return self.numpy().__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.numpy().__dlpack_device__()
