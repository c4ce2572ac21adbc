"""onnxruntime's exceptions as light twins: what a stand-in raises, and `except` clauses catch.

Where the real onnxruntime is loaded in this process as well, what is raised is both: its class and ours.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

from sharedmodel.client.fallback import fall_back

REAL = "onnxruntime.capi.onnxruntime_pybind11_state"


class _Twin(Exception):
    """An exception of onnxruntime's."""

    def __reduce__(self) -> Any:
        # In another process the real class may not be loaded: which to raise is decided there.
        return raised, (type(self).__name__, *self.args)


class DeviceReset(_Twin):
    """A device has to be set up again."""


class EPFail(_Twin):
    """An execution provider failed."""


class EngineError(_Twin):
    """A compiled engine failed."""


class Fail(_Twin):
    """A run failed, or was terminated."""


class InvalidArgument(_Twin):
    """A wrong name, type or shape."""


class InvalidGraph(_Twin):
    """A model that is no valid graph."""


class InvalidProtobuf(_Twin):
    """A file or bytes that hold no model."""


class ModelLoadCanceled(_Twin):
    """Loading was given up."""


class ModelLoaded(_Twin):
    """There is a model already."""


class ModelRequiresCompilation(_Twin):
    """The model has to be compiled first."""


class NoModel(_Twin):
    """There is no model yet."""


class NoSuchFile(_Twin):
    """No file at the model's path."""


class NotFound(_Twin):
    """Something that is not there."""


class NotImplemented(_Twin):  # onnxruntime's own name for it
    """No implementation of an operator for these types."""


class RuntimeException(_Twin):
    """An operator failed."""


_TWINS = {kind.__name__: kind for kind in _Twin.__subclasses__()}


def raised(name: str, *args: Any) -> Exception:
    """The exception of a name, to be caught as ours and, where it is loaded, as onnxruntime's."""
    twin = _TWINS[name]
    real: Any = getattr(sys.modules.get(REAL), name, twin)
    made: Exception = twin(*args) if real is twin else _both(name, real)(*args)
    return made


def twin_of(type_name: str, message: str) -> Exception | None:
    """The exception of a qualified name, or None when it is none of onnxruntime's."""
    module, _, name = type_name.rpartition(".")
    return raised(name, message) if module == REAL and name in _TWINS else None


@functools.cache
def _both(name: str, real: Any) -> Any:
    twin = _TWINS[name]
    return type(name, (twin, real), {"__module__": twin.__module__, "__doc__": twin.__doc__})


if sys.platform != "linux":
    fall_back(REAL, globals(), quietly=True)
