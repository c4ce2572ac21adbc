"""A model's onnxruntime sessions: one with all its threads, and one of a thread for runs that overlap (see `widths`).

Runs of one session take turns at its threads. Eight callers of a CNN on two processors had 167 answers a second so,
whether one or two ran at once, and 177 with a thread each; a session in each of their processes gave 185. But the
last bits of an answer may then depend on how many came at once: kernels add in another order for fewer threads.

Between two calls of such callers one of them may be the only one for a moment. With all threads beside those of the
next runs it held up all: of the eight one in forty, for 1 to 3 % of the answers and a 99th percentile 12 % higher.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from sharedmodel.server.models.onnx_arena import Arena
from sharedmodel.server.models.onnx_binding import BoundSession
from sharedmodel.server.models.onnx_device import arenas, check_begun
from sharedmodel.server.models.widths import Widths

_BETWEEN_CALLS: Final = 0.02  # seconds


class Opened(NamedTuple):
    """One session, and what goes with it."""

    session: Any
    bound: BoundSession
    arena: Arena


def opened(
    source: str | bytes,
    options: Callable[..., Any],
    *,
    threads: int | None,
    narrow: bool,
    providers: Sequence[Any],
    disabled_optimizers: Sequence[str],
    device: str,
) -> Widths[Opened]:
    """The sessions of a model in a file, or in bytes. ``options`` makes SessionOptions, with ``threads``.

    Raises what onnxruntime raises, and RuntimeError where it does not begin on the device.
    """
    import onnxruntime

    def make(count: int) -> Opened:
        own = options(threads=count)
        session = onnxruntime.InferenceSession(
            source, own, providers=list(providers), disabled_optimizers=list(disabled_optimizers)
        )
        check_begun(session, device)
        return Opened(session, BoundSession(session), Arena(arenas(session, own)))

    count = threads or len(os.sched_getaffinity(0))
    widths = Widths(make, count, crowd=count if narrow else None, lasting=_BETWEEN_CALLS)
    widths.prepare()  # not when it is first wanted: the file may be another by then, and a caller would wait for it
    return widths
