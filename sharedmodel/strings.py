"""Arrays of strings as numpy keeps them when they may have any length: Python objects, which do not cross.

They cross as what they hold: a tuple of a mark, the shape and the strings in C order.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

_MARK: Final = "#strings"


def packed(value: Any) -> Any:
    """The value with each array of Python objects in it, however deep in lists, made to cross.

    Each element becomes its ``str``, as onnxruntime has it; anything that is no such array stays as it is.
    """
    if isinstance(value, list):
        return [packed(item) for item in value]
    if isinstance(value, np.ndarray) and value.dtype.hasobject:
        return _MARK, list(value.shape), [str(item) for item in value.ravel().tolist()]
    return value


def unpacked(value: Any) -> Any:
    """The value with the arrays as they were."""
    if isinstance(value, list):
        return [unpacked(item) for item in value]
    if isinstance(value, tuple) and len(value) == 3 and value[0] == _MARK:
        _, shape, items = value
        array = np.empty(len(items), object)
        array[:] = items
        return array.reshape(shape)
    return value
