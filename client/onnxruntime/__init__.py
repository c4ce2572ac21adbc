"""onnxruntime, behind one changed import: the session is in the host, shared by all who ask for the same.

    import sharedmodel.client.onnxruntime as ort

    session = ort.InferenceSession("model.onnx")
    (y,) = session.run(None, {"x": x})

Results are bitwise onnxruntime's, exceptions have its names and messages. A session is light: it pickles by
reference, works after a fork, and may be used by any number of threads and processes. With no host running
an embedded one is started; a configured server is asked for the model among those it lists.

    carried by SessionOptions   intra_op_num_threads and inter_op_num_threads (0: the host's plan; a configured
                                server keeps its own), graph_optimization_level, execution_mode,
                                use_deterministic_compute, config entries, free-dimension overrides
    without effect              arenas, memory patterns, logging, execution_order: they change no result
    refused by name             custom operators, profiling, files to write, added initializers, callbacks
    as outputs                  tensors, strings, sequences and maps; sparse tensors don't cross, nor do types
                                that numpy has not (bfloat16, 4 bits ...)

Arrays of `session.empty(shape, dtype)`, of `OrtValue.ortvalue_from_shape_and_type` and of `Host.empty` lie in
shared memory: as inputs they are not copied. A model given as bytes is kept by an embedded host, in a file in
its private folder, until that host's server ends. Elsewhere than on Linux, this is onnxruntime itself.
"""

from __future__ import annotations

import sys
from typing import Any

if sys.platform == "linux":
    from . import library
    from .binding import IOBinding
    from .enums import ExecutionMode, ExecutionOrder, GraphOptimizationLevel
    from .library import (
        disable_telemetry_events,
        enable_telemetry_events,
        get_all_providers,
        get_available_providers,
        get_build_info,
        get_device,
        get_version_string,
        set_default_logger_severity,
        set_default_logger_verbosity,
        set_seed,
    )
    from .nodes import ModelMetadata, NodeArg
    from .options import RunOptions, SessionOptions
    from .session import InferenceSession
    from .values import OrtDevice, OrtValue
else:
    from sharedmodel.client.fallback import fall_back

    fall_back("onnxruntime", globals())

__all__ = [
    "ExecutionMode",
    "ExecutionOrder",
    "GraphOptimizationLevel",
    "IOBinding",
    "InferenceSession",
    "ModelMetadata",
    "NodeArg",
    "OrtDevice",
    "OrtValue",
    "RunOptions",
    "SessionOptions",
    "disable_telemetry_events",
    "enable_telemetry_events",
    "get_all_providers",
    "get_available_providers",
    "get_build_info",
    "get_device",
    "get_version_string",
    "set_default_logger_severity",
    "set_default_logger_verbosity",
    "set_seed",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return library.version()
    if name.startswith("__"):
        raise AttributeError(name)
    raise AttributeError(f"onnxruntime.{name} is not part of this stand-in; it has: {', '.join(__all__)}")
