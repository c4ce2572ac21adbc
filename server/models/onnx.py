"""Any ONNX file, run by onnxruntime as its own InferenceSession would, outputs in shared memory.

    inputs   read-only views of the caller's arena ── bound where they lie, never copied
    outputs  blocks from sharedmodel.reply.empty ──── the model writes the reply itself

Whatever does not fit that path exactly (strings, sequences, a list for an array, a wrong name)
goes through `InferenceSession.run` unchanged, so that results, exception types and messages are
onnxruntime's. So does a run that failed in place: what the caller sees is the plain run's answer
or the plain run's error, at the price of running twice.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from sharedmodel.reply import on_cancel
from sharedmodel.server.models.onnx_binding import BoundSession, nbytes, zeros

Provider = str | tuple[str, dict[str, Any]]

# RunOptions' attributes that a dict may set; `terminate` is the caller's cancel, not an option.
_RUN_OPTIONS = (
    "log_severity_level",
    "log_verbosity_level",
    "logid",
    "only_execute_path_to_fetches",
)
_CANARY_MOST = 64 << 20  # bytes
_FATAL = 4


class OnnxModel:
    """One loaded ONNX model. Safe to call from many threads at once.

    path       the file; weights stored beside it are found there. Or a model's bytes.
    threads    intra-op threads; None takes every processor this process may use
    providers  execution providers in order of preference, as InferenceSession takes them
    spinning   let idle intra-op threads burn a processor for lower latency (onnxruntime's own
               default; off here because a host is shared)
    config     further session entries, such as {"session.disable_prepacking": "1"}
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | bytes,
        *,
        threads: int | None = None,
        providers: Sequence[Provider] = ("CPUExecutionProvider",),
        spinning: bool = False,
        config: Mapping[str, str] | None = None,
    ) -> None:
        # Read at import: without it onnxruntime writes telemetry files and starts a thread.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
        for name, value in (config or {}).items():
            options.add_session_config_entry(name, value)
        model = path if isinstance(path, bytes) else os.fspath(path)
        session = onnxruntime.InferenceSession(model, options, providers=list(providers))
        self._new_options = onnxruntime.RunOptions
        self._open: tuple[Any, BoundSession] | None = (session, BoundSession(session))

    def run(
        self,
        output_names: Sequence[str] | None,
        input_feed: Mapping[str, Any],
        run_options: Any = None,
    ) -> list[Any]:
        """As `InferenceSession.run`, but that strings come as a fixed-width array: Python objects
        do not cross. `run_options`: None, onnxruntime's own object, or a dict of
        its attributes, such as {"log_severity_level": 3, "entries": {"name": "value"}}."""
        _, bound = self._opened()
        options = self._run_options(run_options)

        def stop() -> None:
            options.terminate = True

        with on_cancel(stop):
            return [_crossing(output) for output in bound.run(output_names, input_feed, options)]

    def get_inputs(self) -> list[dict[str, Any]]:
        return [_described(arg) for arg in self._session.get_inputs()]

    def get_outputs(self) -> list[dict[str, Any]]:
        return [_described(arg) for arg in self._session.get_outputs()]

    def get_overridable_initializers(self) -> list[dict[str, Any]]:
        return [_described(arg) for arg in self._session.get_overridable_initializers()]

    def get_modelmeta(self) -> dict[str, Any]:
        meta = self._session.get_modelmeta()
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
        return list(self._session.get_providers())

    def get_provider_options(self) -> dict[str, dict[str, str]]:
        given = self._session.get_provider_options()
        return {name: dict(options) for name, options in given.items()}

    def canary(self) -> dict[str, Any] | None:
        """A first call to make: zeros, symbolic dimensions taken as 1. None where that would be too much."""
        given = self._session.get_inputs()
        if sum(nbytes(arg) for arg in given) > _CANARY_MOST:
            return None
        feed = {arg.name: zeros(arg) for arg in given}
        if any(array is None for array in feed.values()):
            return None
        # Ones need not fit together, and nothing said of its shape may mean that any is fine.
        sure = all(arg.shape and all(isinstance(dim, int) for dim in arg.shape) for arg in given)
        options = {} if sure else {"log_severity_level": _FATAL}  # a failure that proves nothing is no news
        return {"method": "run", "args": (None, feed, options), "tentative": not sure}

    def close(self) -> None:
        """Lets the model go. Calls that are running keep it until they are done."""
        self._open = None

    @property
    def _session(self) -> Any:
        return self._opened()[0]

    def _opened(self) -> tuple[Any, BoundSession]:
        opened = self._open
        if opened is None:
            raise RuntimeError("this model is closed")
        return opened

    def _run_options(self, given: Any) -> Any:
        if given is not None and not isinstance(given, Mapping):
            return given
        options = self._new_options()
        for name, value in (given or {}).items():
            if name == "entries":
                for entry, text in value.items():
                    options.add_run_config_entry(entry, text)
            elif name in _RUN_OPTIONS:
                setattr(options, name, value)
            else:
                allowed = ", ".join((*_RUN_OPTIONS, "entries"))
                raise ValueError(f"run_options[{name!r}] is unknown; allowed: {allowed}")
        return options


def _crossing(output: Any) -> Any:
    return output.astype(str) if getattr(getattr(output, "dtype", None), "hasobject", False) else output


def _described(arg: Any) -> dict[str, Any]:
    return {"name": arg.name, "shape": list(arg.shape), "type": arg.type}
