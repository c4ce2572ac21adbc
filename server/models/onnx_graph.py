"""A graph of an adapter's own, opened with our options: a run ends when its caller gives up, and memory comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from sharedmodel.reply import on_cancel
from sharedmodel.tensor import Array

from ..machine.seat import Seat
from .onnx_arena import Arena
from .onnx_device import arenas, check_begun, providers_on
from .onnx_options import FATAL, session_options

_PROCESSORS: Final = Seat()


class Graph:
    """One onnxruntime session. Any number of threads may run it at once. ``session``: to ask it what it has."""

    def __init__(self, path: str, *, threads: int | None, providers: Sequence[Any], seat: Seat = _PROCESSORS) -> None:
        """``seat``: a GPU to run on, in the place of ``providers``.

        Raises ValueError for a provider that there is not, and what onnxruntime raises.
        """
        import onnxruntime

        providers = providers_on(seat.device, seat.memory, providers)
        _check_available(onnxruntime.get_available_providers(), providers)
        options = session_options(threads=threads)
        self.session = onnxruntime.InferenceSession(path, options, providers=list(providers))
        self._options = onnxruntime.RunOptions
        check_begun(self.session, seat.device)
        self._arena = Arena(arenas(self.session, options))

    def run(self, outputs: Sequence[str], feed: Mapping[str, Array], *, only: bool = False, noted: bool = True) -> Any:
        """A list of these outputs. ``only``: compute nothing else; ``noted``: whether its size counts for the arena.

        Raises what onnxruntime does, where the caller gives up too.
        """
        options = self._options()
        options.log_severity_level = FATAL
        options.only_execute_path_to_fetches = only
        if noted:
            self._arena.begins(options, feed.values())
        with on_cancel(partial(setattr, options, "terminate", True)):
            return self.session.run(list(outputs), feed, options)

    def shrink(self) -> None:
        """Have the next run give back what the arena holds and does not use."""
        self._arena.shrink()


def _check_available(available: Sequence[str], providers: Sequence[Any]) -> None:
    """Raises ValueError for one that is not there, in fastembed's words; onnxruntime would go on with the processor."""
    for provider in providers:
        if (provider if isinstance(provider, str) else provider[0]) not in available:
            raise ValueError(f"Provider {provider} is not available. Available providers: {available}")
