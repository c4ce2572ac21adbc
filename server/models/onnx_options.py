"""onnxruntime's SessionOptions and RunOptions from plain values, which a configuration or a call can hold."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, Literal

Optimization = Literal["none", "basic", "extended", "layout", "all"]
Spinning = bool | Literal["run"]

_LEVELS = {
    "none": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "layout": "ORT_ENABLE_LAYOUT",
    "all": "ORT_ENABLE_ALL",
}
# RunOptions' attributes that a dict may set.
_RUN_OPTIONS = (
    "log_severity_level",
    "log_verbosity_level",
    "logid",
    "only_execute_path_to_fetches",
    "terminate",
)
# RunOptions' own levels: 2 warns, 4 reports only what ends the process. onnxruntime reports on stderr, in colours,
# and knows nothing of the format of a host's log; a run that fails raises what it reports.
FATAL: Final = 4
_EARLY_MOST = 256
ONE_ARENA = "session.use_env_allocators"
_REGISTERING = threading.Lock()
_registered = False


def session_options(
    *,
    threads: int | None,
    inter_threads: int | None = None,
    spinning: Spinning = False,
    optimization: Optimization = "all",
    parallel: bool = False,
    deterministic: bool = False,
    free_dimensions: Mapping[str, int] | None = None,
    free_denotations: Mapping[str, int] | None = None,
    config: Mapping[str, str] | None = None,
) -> Any:
    """SessionOptions; what each value means is said by `OnnxModel`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
    options.inter_op_num_threads = inter_threads or (0 if parallel else 1)
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, _LEVELS[optimization])
    if parallel:
        options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
    options.use_deterministic_compute = deterministic
    for name, size in (free_dimensions or {}).items():
        options.add_free_dimension_override_by_name(name, size)
    for denotation, size in (free_denotations or {}).items():
        options.add_free_dimension_override_by_denotation(denotation, size)
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    options.add_session_config_entry("session.force_spinning_stop", "1" if spinning == "run" else "0")
    if (config or {}).get(ONE_ARENA) == "1":
        _register_arena()
    for name, value in (config or {}).items():
        options.add_session_config_entry(name, value)
    return options


def _register_arena() -> None:
    """One arena for the sessions of this process that ask for it: their own would each keep the most that one of
    its runs has needed.

    Six sessions of a CNN, after one run of 16 pictures each: 538 MB with arenas of their own, 102 MB with one. But
    eight callers of one session had a tenth to a fifth less from it: its threads meet at the arena's lock.
    """
    global _registered
    import onnxruntime

    with _REGISTERING:
        if not _registered:
            kind, memory = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, onnxruntime.OrtMemType.DEFAULT
            place = onnxruntime.OrtMemoryInfo("Cpu", kind, 0, memory)
            onnxruntime.create_and_register_allocator(place, onnxruntime.OrtArenaCfg(0, -1, -1, -1))
            _registered = True


def providers_of(providers: Sequence[Any], options: Sequence[Mapping[str, str]] | None) -> list[Any]:
    """Providers as InferenceSession takes them: each with its options, if it has any."""
    if not options:
        return list(providers)
    return [(name, dict(given)) for name, given in zip(providers, options, strict=True)]


def run_options(new: type, given: Mapping[str, Any] | None) -> Any:
    """RunOptions. Raises ValueError for an option that there is not."""
    options = new()
    for name, value in (given or {}).items():
        if name == "entries":
            for entry, text in value.items():
                options.add_run_config_entry(entry, text)
        elif name in _RUN_OPTIONS:
            setattr(options, name, value)
        elif name != "token":
            allowed = ", ".join((*_RUN_OPTIONS, "entries"))
            raise ValueError(f"run_options[{name!r}] is unknown; allowed: {allowed}")
    return options


class Terminable:
    """Runs that can be ended by a token, whichever comes first: the run, or word that it shall end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[str, Any] = {}
        self._early: dict[str, None] = {}

    @contextmanager
    def running(self, token: str, options: Any, stopping: AbstractContextManager[None]) -> Iterator[None]:
        """The run with these options is under way, and may end by ``stopping`` too."""
        with self._lock:
            self._running[token] = options
            if token in self._early:
                del self._early[token]
                options.terminate = True
        try:
            with stopping:
                yield
        finally:
            with self._lock:
                del self._running[token]

    def terminate(self, token: str) -> None:
        with self._lock:
            options = self._running.get(token)
            if options is not None:
                options.terminate = True
                return
            # Most are of runs that are over: few are kept.
            if len(self._early) >= _EARLY_MOST:
                del self._early[next(iter(self._early))]
            self._early[token] = None
