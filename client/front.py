"""What stand-ins have in common: objects that are light, and whose methods are the host's."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from .backing import Backing, Wanted
from .onnxruntime.capi.onnxruntime_pybind11_state import twin_of
from .raising import as_the_library


class StandIn:
    """An object with a model behind it. It pickles by reference."""

    _backing: Backing
    _twin: ClassVar[staticmethod[[str, str], Exception | None]] = staticmethod(twin_of)

    def _obtained(self, wanted: Wanted) -> dict[str, Any]:
        """Ask for the model; its card. Raises what the library would."""
        with as_the_library(self._twin):
            self._backing = Backing(wanted)
        card: dict[str, Any] = self._call("card")
        return card

    def _call(self, method: str, *args: Any) -> Any:
        with as_the_library(self._twin):
            return self._backing.call(lambda model: getattr(model, method)(*args))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} in the host: {self._backing.wanted.name}>"


class Placed:
    """What programs for PyTorch ask of any model."""

    @property
    def device(self) -> Any:
        """Where tensors are that it gives: "cpu", as a torch.device where torch is installed."""
        try:
            import torch
        except ImportError:
            return "cpu"
        return torch.device("cpu")

    def cpu(self) -> Self:
        """Nothing to do."""
        return self

    def eval(self) -> Self:
        """Nothing to do: it never trains."""
        return self
