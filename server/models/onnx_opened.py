"""A model's onnxruntime sessions: one with all its threads, and one of a thread for runs that overlap (see `widths`).

Runs of one session take turns at its threads. Eight callers of a CNN on two processors had 167 answers a second so,
whether one or two ran at once, and 177 with a thread each; a session in each of their processes gave 185.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from sharedmodel.server.models.onnx_arena import Arena
from sharedmodel.server.models.onnx_binding import BoundSession
from sharedmodel.server.models.onnx_device import arenas, check_begun
from sharedmodel.server.models.onnx_mapped import is_outside
from sharedmodel.server.models.widths import Widths

Source = str | bytes
SMALL: Final = 64 << 20  # bytes of weights that may be in memory twice


class Opened(NamedTuple):
    """One session, and what goes with it."""

    session: Any
    bound: BoundSession
    arena: Arena


def opened(
    source: Source,
    options: Callable[[int], Any],
    *,
    threads: int | None,
    narrow: bool,
    providers: Sequence[Any],
    disabled_optimizers: Sequence[str],
    device: str,
) -> Widths[Opened]:
    """The sessions of a model in a file, or in bytes. ``options`` makes the SessionOptions for so many threads.

    Raises what onnxruntime raises, and RuntimeError where it does not begin on the device.
    """
    import onnxruntime

    state = _state(source)

    def make(count: int) -> Opened:
        if _state(source) != state:  # one model must not answer with two
            raise RuntimeError(f"{source!r} has changed since this model was loaded")
        own = options(count)
        session = onnxruntime.InferenceSession(
            source, own, providers=list(providers), disabled_optimizers=list(disabled_optimizers)
        )
        check_begun(session, device)
        return Opened(session, BoundSession(session), Arena(arenas(session, own)))

    count = threads or len(os.sched_getaffinity(0))
    return Widths(make, count, crowd=count if narrow else None)


def narrow_pays(path: Source, *, mapped: bool) -> bool:
    """Whether a model is so small, or so shared, that a second session costs little memory."""
    if mapped:
        return True
    if isinstance(path, bytes):
        return len(path) <= SMALL
    try:
        return os.path.getsize(path) <= SMALL and not is_outside(path)
    except OSError:  # onnxruntime says what is wrong with it
        return False


def _state(source: Source) -> Any:
    if isinstance(source, bytes):
        return None
    try:
        found = os.stat(source)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
