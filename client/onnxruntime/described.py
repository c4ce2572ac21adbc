"""What a session tells of its model: a card, read once when the session is made."""

from __future__ import annotations

from typing import Any, Final

from sharedmodel.client.refusing import refused

from .nodes import ModelMetadata, NodeArg

_DEVICES: Final = "the host alone knows its devices"


class Described:
    """The part of a session that asks nobody."""

    def _describe(self, card: dict[str, Any]) -> None:
        self._inputs = [NodeArg(**arg) for arg in card["inputs"]]
        self._outputs = [NodeArg(**arg) for arg in card["outputs"]]
        self._overridable = [NodeArg(**arg) for arg in card["overridable"]]
        self._meta = ModelMetadata(**card["modelmeta"])
        self._providers: list[str] = card["providers"]
        self._provider_options: dict[str, dict[str, str]] = card["provider_options"]
        self._input_names = {arg.name for arg in (*self._inputs, *self._overridable)}
        self._required = [arg.name for arg in self._inputs if not arg.type.startswith("optional")]
        self._strings = any("string" in arg.type for arg in (*self._inputs, *self._outputs))

    def get_inputs(self) -> list[NodeArg]:
        """Name, type and shape of each input."""
        return self._inputs

    def get_outputs(self) -> list[NodeArg]:
        """Name, type and shape of each output."""
        return self._outputs

    def get_overridable_initializers(self) -> list[NodeArg]:
        """Inputs that have a value already."""
        return self._overridable

    def get_modelmeta(self) -> ModelMetadata:
        """Who made the model."""
        return self._meta

    def get_providers(self) -> list[str]:
        """The execution providers that the host runs it with."""
        return self._providers

    def get_provider_options(self) -> dict[str, dict[str, str]]:
        """The options of each provider."""
        return self._provider_options

    def end_profiling(self) -> str:
        """Empty: there is no profile."""
        return ""

    def get_profiling_start_time_ns(self) -> int:
        """0: there is no profile."""
        return 0

    def get_tuning_results(self) -> list[Any]:
        """Empty: the processor has none."""
        return []

    set_tuning_results = refused("InferenceSession.set_tuning_results", "the model is shared")
    set_ep_dynamic_options = refused("InferenceSession.set_ep_dynamic_options", "the model is shared")
    run_with_ortvaluevector = refused("InferenceSession.run_with_ortvaluevector", "use run_with_ort_values")
    get_input_memory_infos = refused("InferenceSession.get_input_memory_infos", _DEVICES)
    get_output_memory_infos = refused("InferenceSession.get_output_memory_infos", _DEVICES)
    get_input_epdevices = refused("InferenceSession.get_input_epdevices", _DEVICES)
    get_provider_graph_assignment_info = refused("InferenceSession.get_provider_graph_assignment_info", _DEVICES)
