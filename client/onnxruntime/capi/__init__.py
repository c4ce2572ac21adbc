"""The exceptions' place in onnxruntime: `from ...capi.onnxruntime_pybind11_state import InvalidArgument`."""
