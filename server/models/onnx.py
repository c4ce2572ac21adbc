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
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, TypeVar

import numpy as np

from sharedmodel.reply import asked, on_cancel
from sharedmodel.server.machine.governor import CPU
from sharedmodel.server.models.onnx_arena import ENTRY, Arena, values
from sharedmodel.server.models.onnx_bound import run_bound
from sharedmodel.server.models.onnx_described import Described
from sharedmodel.server.models.onnx_device import providers_on
from sharedmodel.server.models.onnx_mapped import ENTRIES
from sharedmodel.server.models.onnx_mapped import mapped as split_off
from sharedmodel.server.models.onnx_opened import Opened, opened
from sharedmodel.server.models.onnx_options import (
    Optimization,
    Spinning,
    Terminable,
    providers_of,
    run_options,
    session_options,
)
from sharedmodel.strings import packed, unpacked

Provider = str | tuple[str, dict[str, Any]]
R = TypeVar("R")


class OnnxModel(Described):
    """One loaded ONNX model. Safe to call from many threads at once.

    path       the file; weights stored beside it are found there. Or a model's bytes.
    threads    intra-op threads; None takes every processor this process may use
    narrow     runs that overlap, as many as there are threads, have a thread each, of a second session: more answers a
               second, for a second time the weights' memory, unless they are `mapped`; and the last bits of an answer
               may depend on how many came at once. As many run at once then as there are threads
    inter_threads        of the parallel execution mode, which takes every processor without it
    providers  execution providers in order of preference, as InferenceSession takes them
    provider_options     for each of them, its options
    spinning   let idle intra-op threads burn a processor for lower latency: True, onnxruntime's own default;
               "run", while a run is under way only, as the server has it where there is no other model; or
               False, because a host is shared
    optimization         of the graph: "none", "basic", "extended", "layout" or "all"
    parallel   the execution mode: branches of the graph side by side
    deterministic        use_deterministic_compute
    free_dimensions, free_denotations    sizes of symbolic dimensions, by name and by denotation
    disabled_optimizers  names of graph optimizers to leave out
    config     further session entries, such as {"session.disable_prepacking": "1"}; sessions with
               {"session.use_env_allocators": "1"} share one arena: less memory for many models, but slower
               where several callers run one at once
    mapped     share the weights' memory with other hosts and instances, and load at once: they are mapped, in
               a graph that is written once with its weights outside (kept in $SHAREDMODEL_CACHE). Runs of
               several rows are slower; not with `in_memory`
    device     "cpu", or a GPU that onnxruntime-gpu can use, such as "cuda:0", in the place of `providers`: the
               server says which, by the model's key `device`
    device_memory        most bytes of it that an arena may take; without: what the server may use of it
    in_memory  read the file here and give onnxruntime its bytes, as of a model without a folder
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | bytes,
        *,
        threads: int | None = None,
        narrow: bool = False,
        inter_threads: int | None = None,
        providers: Sequence[Provider] = ("CPUExecutionProvider",),
        provider_options: Sequence[Mapping[str, str]] | None = None,
        spinning: Spinning = False,
        optimization: Optimization = "all",
        parallel: bool = False,
        deterministic: bool = False,
        free_dimensions: Mapping[str, int] | None = None,
        free_denotations: Mapping[str, int] | None = None,
        disabled_optimizers: Sequence[str] = (),
        config: Mapping[str, str] | None = None,
        in_memory: bool = False,
        mapped: bool = False,
        device: str = "cpu",
        device_memory: int | None = None,
    ) -> None:
        import onnxruntime

        source = path if isinstance(path, bytes) else os.fspath(path)
        if mapped:
            if in_memory or isinstance(source, bytes):
                raise ValueError("mapped: only a model in a file can be, without in_memory")
            source, optimization, config = split_off(source), "none", {**ENTRIES, **(config or {})}
        if narrow and device != CPU:
            raise ValueError(f"narrow: on {device} runs don't wait for threads")
        options = partial(
            session_options, inter_threads=inter_threads, spinning=spinning, optimization=optimization,
            parallel=parallel, deterministic=deterministic, free_dimensions=free_dimensions,
            free_denotations=free_denotations, config=config,
        )  # fmt: skip
        self._new_options = onnxruntime.RunOptions
        self._terminable = Terminable()
        self._sessions = opened(
            _read(source) if in_memory else source,
            options,
            threads=threads,
            narrow=narrow,
            providers=providers_on(device, device_memory, providers_of(providers, provider_options)),
            disabled_optimizers=disabled_optimizers,
            device=device,
        )

    def run(
        self,
        output_names: Sequence[str] | None,
        input_feed: Mapping[str, Any],
        run_options: Any = None,
    ) -> list[Any]:
        """As `InferenceSession.run`, but that strings come as a fixed-width array: Python objects
        do not cross. `run_options`: None, onnxruntime's own object, or a dict of
        its attributes, such as {"log_severity_level": 3, "entries": {"name": "value"}}."""
        outputs = self._run(
            run_options, values(input_feed), lambda at, options: at.bound.run(output_names, input_feed, options)
        )
        for at, output in enumerate(outputs):
            if type(output) is not np.ndarray or output.dtype.hasobject:
                outputs[at] = _crossing(output)
        return outputs

    def run_packed(
        self, output_names: Sequence[str] | None, input_feed: Mapping[str, Any], options: Any = None
    ) -> list[Any]:
        """The same, but strings of any length are packed as `sharedmodel.strings` has it, in and out."""
        feed = {name: unpacked(value) for name, value in input_feed.items()}
        outputs = self._run(options, feed.values(), lambda at, made: at.bound.run(output_names, feed, made))
        return [packed(output) for output in outputs]

    def run_bound(
        self,
        inputs: Sequence[tuple[str, Any]],
        outputs: Sequence[tuple[str, Sequence[int] | None, str | None]],
        options: Any = None,
    ) -> list[Any]:
        """As `run_with_iobinding`: inputs (name, array) and outputs (name, shape or None, dtype or None)."""
        arrays = [(name, unpacked(value)) for name, value in inputs]
        found = self._run(
            options, [array for _, array in arrays], lambda at, made: run_bound(at.session, arrays, outputs, made)
        )
        return [packed(output) for output in found]

    def terminate(self, token: str) -> None:
        """End the run whose options have this "token", now or when it comes: as `RunOptions.terminate`."""
        self._terminable.terminate(token)

    def _run(self, given: Any, arrays: Iterable[Any], run: Callable[[Opened, Any], R]) -> R:
        """What ``run`` gives, with the session that there is for a run now and onnxruntime's RunOptions."""
        at = self._sessions.enter(alone=not asked())
        try:
            options = self._options(given, arrays, at.arena)
            with self._stoppable(given, options):
                return run(at, options)
        finally:
            self._sessions.leave()

    def _options(self, given: Any, arrays: Iterable[Any], arena: Arena) -> Any:
        if given is None:
            options, entries = self._new_options(), None
        elif isinstance(given, Mapping):
            options, entries = run_options(self._new_options, given), given.get("entries")
        else:
            return given
        if not entries or ENTRY not in entries:
            arena.begins(options, arrays)
        return options

    def _stoppable(self, given: Any, options: Any) -> AbstractContextManager[None]:
        """A run with these options is terminated when the caller gives up, or says so by its token."""
        stopping = on_cancel(partial(setattr, options, "terminate", True))
        token = given.get("token") if given is not None and isinstance(given, Mapping) else None
        return stopping if token is None else self._terminable.running(token, options, stopping)

    def shrink(self) -> None:
        """Have the next run give back what its arena holds and does not use."""
        for each in self._sessions.made():
            each.arena.shrink()

    def batching(self) -> Any:
        """How runs of this model run together; None where its graph does not allow it."""
        from sharedmodel.server.models.onnx_batching import batching_of

        return batching_of(self)

    def close(self) -> None:
        """Lets the model go. Calls that are running keep it until they are done."""
        self._sessions.close()

    @property
    def session(self) -> Any:
        """onnxruntime's own, that of a call which is alone. Raises RuntimeError when the model is closed."""
        return self._sessions.wide.session


def _read(path: Any) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _crossing(output: Any) -> Any:
    return output.astype(str) if getattr(getattr(output, "dtype", None), "hasobject", False) else output
