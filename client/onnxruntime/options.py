"""SessionOptions and RunOptions as plain data that goes with the model, or with the call.

Without effect, because the host has its own way: arenas, memory patterns, logging, and the order in
which nodes run. None of them changes a result.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sharedmodel.client.refusing import refused

from .enums import ExecutionMode, ExecutionOrder, GraphOptimizationLevel
from .fields import Entries, Field

_OPTIMIZATION = {
    GraphOptimizationLevel.ORT_DISABLE_ALL: "none",
    GraphOptimizationLevel.ORT_ENABLE_BASIC: "basic",
    GraphOptimizationLevel.ORT_ENABLE_EXTENDED: "extended",
    GraphOptimizationLevel.ORT_ENABLE_LAYOUT: "layout",
}
_HOST_FILE = "it would be written by the host, which is not this process"
_OBJECTS = "the model is shared, and its file says all of it"


class SessionOptions:
    """What a session is made with. Two sessions with equal options of one model share it."""

    enable_cpu_mem_arena = Field(True)
    enable_mem_pattern = Field(True)
    enable_mem_reuse = Field(True)
    enable_profiling = Field(False, fixed=_HOST_FILE)
    execution_mode = Field(ExecutionMode.ORT_SEQUENTIAL)
    execution_order = Field(ExecutionOrder.DEFAULT)
    graph_optimization_level = Field(GraphOptimizationLevel.ORT_ENABLE_ALL)
    inter_op_num_threads = Field(0)
    intra_op_num_threads = Field(0)
    log_severity_level = Field(-1)
    log_verbosity_level = Field(0)
    logid = Field("")
    optimized_model_filepath = Field("", fixed=_HOST_FILE)
    profile_file_prefix = Field("onnxruntime_profile_")
    use_deterministic_compute = Field(False)
    use_per_session_threads = Field(True)
    __slots__ = ("_by_denotation", "_by_name", "_entries", "_values")

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}
        self._entries = Entries("SessionOptions")
        self._by_name: dict[str, int] = {}
        self._by_denotation: dict[str, int] = {}

    def add_session_config_entry(self, key: str, value: str, /) -> None:
        """Set an entry of the session's configuration."""
        self._entries.add(key, value)

    def get_session_config_entry(self, key: str, /) -> str:
        """An entry that was set. Raises RuntimeError for one that was not."""
        return self._entries.get(key)

    def add_free_dimension_override_by_name(self, name: str, size: int, /) -> None:
        """Fix a symbolic dimension."""
        _override(self._by_name, name, size)

    def add_free_dimension_override_by_denotation(self, denotation: str, size: int, /) -> None:
        """Fix the dimensions of a denotation."""
        _override(self._by_denotation, denotation, size)

    def has_providers(self) -> bool:
        """Providers are named to InferenceSession."""
        return False

    register_custom_ops_library = refused(
        "SessionOptions.register_custom_ops_library", "a library of yours would run in the host of all"
    )
    add_initializer = refused("SessionOptions.add_initializer", _OBJECTS)
    add_external_initializers = refused("SessionOptions.add_external_initializers", _OBJECTS)
    add_external_initializers_from_files_in_memory = refused(
        "SessionOptions.add_external_initializers_from_files_in_memory", _OBJECTS
    )
    add_provider = refused("SessionOptions.add_provider", "name the providers to InferenceSession")
    add_provider_for_devices = refused("SessionOptions.add_provider_for_devices", "the devices are the host's")
    set_provider_selection_policy = refused(
        "SessionOptions.set_provider_selection_policy", "name the providers to InferenceSession"
    )
    set_provider_selection_policy_delegate = refused(
        "SessionOptions.set_provider_selection_policy_delegate", "it would be called in the host"
    )
    set_ep_context_data_read_func = refused(
        "SessionOptions.set_ep_context_data_read_func", "it would be called in the host"
    )
    clear_ep_context_data_read_func = refused(
        "SessionOptions.clear_ep_context_data_read_func", "there can be none to clear"
    )
    set_load_cancellation_flag = refused("SessionOptions.set_load_cancellation_flag", "others may wait for the model")

    def carried(self) -> dict[str, Any]:
        """As the options of a model, without those that are the default."""
        options: dict[str, Any] = {
            "threads": self.intra_op_num_threads or None,
            "inter_threads": self.inter_op_num_threads or None,
            "optimization": _OPTIMIZATION.get(self.graph_optimization_level),
            "parallel": self.execution_mode is ExecutionMode.ORT_PARALLEL,
            "deterministic": self.use_deterministic_compute,
            "free_dimensions": self._by_name,
            "free_denotations": self._by_denotation,
            "config": self._entries.pairs,
        }
        return {name: value for name, value in options.items() if value}


class RunOptions:
    """What a call is made with; `terminate = True`, in any thread, ends the calls that run with it."""

    log_severity_level = Field(-1)
    log_verbosity_level = Field(0)
    logid = Field("")
    only_execute_path_to_fetches = Field(False)
    add_active_adapter = refused("RunOptions.add_active_adapter", "an adapter's weights are not in the host")
    __slots__ = ("_entries", "_lock", "_running", "_terminate", "_values")

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}
        self._entries = Entries("RunOptions")
        self._terminate = False
        self._running: dict[str, Callable[[str], Any]] = {}
        self._lock = threading.Lock()

    def add_run_config_entry(self, key: str, value: str, /) -> None:
        """Set an entry of the call's configuration."""
        self._entries.add(key, value)

    def get_run_config_entry(self, key: str, /) -> str:
        """An entry that was set. Raises RuntimeError for one that was not."""
        return self._entries.get(key)

    @property
    def terminate(self) -> bool:
        """Whether calls with these options shall end."""
        return self._terminate

    @terminate.setter
    def terminate(self, value: object) -> None:
        with self._lock:
            self._terminate = bool(value)
            running = dict(self._running) if value else {}
        for token, stop in running.items():
            stop(token)

    @contextmanager
    def used(self, stop: Callable[[str], Any]) -> Iterator[dict[str, Any]]:
        """The options as a call carries them; ``stop(token)`` is called when it shall end meanwhile."""
        token = os.urandom(8).hex()
        carried = {**self._values, "token": token}
        if self._entries.pairs:
            carried["entries"] = dict(self._entries.pairs)
        with self._lock:
            self._running[token] = stop
            if self._terminate:
                carried["terminate"] = True
        try:
            yield carried
        finally:
            with self._lock:
                del self._running[token]

    def __getstate__(self) -> tuple[None, dict[str, Any]]:
        kept = {"_values": self._values, "_entries": self._entries, "_terminate": self._terminate}
        return None, {**kept, "_running": {}}

    def __setstate__(self, state: tuple[None, dict[str, Any]]) -> None:
        for name, value in state[1].items():
            setattr(self, name, value)
        self._lock = threading.Lock()


def _override(table: dict[str, int], name: str, size: int) -> None:
    if not isinstance(name, str) or not hasattr(type(size), "__index__"):
        raise TypeError(f"a dimension is overridden by a str and an int, not {type(name).__name__} and {size!r}")
    table[name] = int(size)
