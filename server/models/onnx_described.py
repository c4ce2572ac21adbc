"""What an ONNX model tells of itself without being run, and the first call to make of it."""

from __future__ import annotations

from typing import Any, Final

from sharedmodel.server.models.onnx_binding import nbytes, zeros
from sharedmodel.server.models.onnx_options import FATAL

_CANARY_MOST: Final = 64 << 20  # bytes


class Described:
    """Has an onnxruntime session, and tells what that knows."""

    @property
    def session(self) -> Any:
        raise NotImplementedError

    def card(self) -> dict[str, Any]:
        """All that the `get_...` methods tell, at once."""
        return {
            "inputs": self.get_inputs(),
            "outputs": self.get_outputs(),
            "overridable": self.get_overridable_initializers(),
            "modelmeta": self.get_modelmeta(),
            "providers": self.get_providers(),
            "provider_options": self.get_provider_options(),
        }

    @staticmethod
    def about() -> dict[str, Any]:
        """The onnxruntime of this host."""
        import onnxruntime

        return {
            "version": onnxruntime.__version__,
            "available_providers": list(onnxruntime.get_available_providers()),
            "all_providers": list(onnxruntime.get_all_providers()),
            "device": onnxruntime.get_device(),
            "build_info": onnxruntime.get_build_info(),
        }

    def get_inputs(self) -> list[dict[str, Any]]:
        """Name, shape and type of each input."""
        return [_described(arg) for arg in self.session.get_inputs()]

    def get_outputs(self) -> list[dict[str, Any]]:
        """Name, shape and type of each output."""
        return [_described(arg) for arg in self.session.get_outputs()]

    def get_overridable_initializers(self) -> list[dict[str, Any]]:
        """The same of each initializer that a call may give as an input."""
        return [_described(arg) for arg in self.session.get_overridable_initializers()]

    def get_modelmeta(self) -> dict[str, Any]:
        """What the file says of itself, as `InferenceSession.get_modelmeta`."""
        meta = self.session.get_modelmeta()
        return {
            "producer_name": meta.producer_name,
            "graph_name": meta.graph_name,
            "graph_description": meta.graph_description,
            "domain": meta.domain,
            "description": meta.description,
            "version": meta.version,
            "custom_metadata_map": dict(meta.custom_metadata_map),
        }

    def get_providers(self) -> list[str]:
        """Names of the execution providers in use."""
        return list(self.session.get_providers())

    def get_provider_options(self) -> dict[str, dict[str, str]]:
        """Of each of them its options."""
        given = self.session.get_provider_options()
        return {name: dict(options) for name, options in given.items()}

    def canary(self) -> dict[str, Any] | None:
        """A first call to make: zeros, symbolic dimensions taken as 1. None where that would be too much."""
        given = self.session.get_inputs()
        if sum(nbytes(arg) for arg in given) > _CANARY_MOST:
            return None
        feed = {arg.name: zeros(arg) for arg in given}
        if any(array is None for array in feed.values()):
            return None
        # Ones need not fit together, and nothing said of its shape may mean that any is fine.
        sure = all(arg.shape and all(isinstance(dim, int) for dim in arg.shape) for arg in given)
        options = {} if sure else {"log_severity_level": FATAL}  # a failure that proves nothing is no news
        return {"method": "run", "args": (None, feed, options), "tentative": not sure}


def _described(arg: Any) -> dict[str, Any]:
    return {"name": arg.name, "shape": list(arg.shape), "type": arg.type}
