"""An object of an OCR library, lent to each call: as a copy of its own, with the threads that there are for it.

A call that is alone takes all processors; those beside one another take one each, from a second object (see
`widths`; some 0.2 s, 45 MB). With the sessions of the first for all, two callers on two processors had 2.3 pages a
second instead of 2.65: three threads took turns there, and met after every operator. One that is alone waits 430 ms
for a page with two threads, 740 ms with one.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sharedmodel.errors import BadArgument
from sharedmodel.reply import on_cancel
from sharedmodel.server.models.onnx_options import FATAL
from sharedmodel.server.models.widths import Widths

_patching = threading.Lock()


def _processors(threads: int | None) -> int:
    if threads is not None and threads < 1:
        raise BadArgument(f"threads is {threads}; it is 1 or more")
    return len(os.sched_getaffinity(0)) if threads is None else threads


@contextmanager
def patient() -> Iterator[None]:
    """RapidOCR's sessions that are made within it have threads that sleep while they wait: it has no setting for it,
    and threads that spin take their processor from callers and from other models."""
    try:
        from rapidocr.inference_engine.onnxruntime.main import OrtInferSession
    except ImportError:  # not installed: nor used, then
        yield
        return
    with _patching:
        usual = getattr(OrtInferSession, "_init_sess_opts", None)
        if usual is None:  # another version, made in another way
            yield
            return

        def quiet(config: Any) -> Any:
            options = usual(config)
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            return options

        OrtInferSession._init_sess_opts = staticmethod(quiet)
        try:
            yield
        finally:
            OrtInferSession._init_sess_opts = staticmethod(usual)


class Lent:
    """An object, lent to each call; to one call at a time where it can't be copied.

    make      makes it, with so many threads for each of its runs
    threads   of a call that is alone; None: every processor that this process may use
    copied    makes the copy, of the object and the call's RunOptions
    doing     what a call does, for its error
    copyable  whether the object can be copied

    Raises BadArgument for a number of threads that can't be, and what ``make`` raises.
    """

    def __init__(
        self,
        make: Callable[[int], Any],
        threads: int | None,
        copied: Callable[[Any, Any], Any],
        doing: str,
        copyable: Callable[[Any], bool] = lambda made: True,
    ) -> None:
        import onnxruntime

        self._copied = copied
        self._doing = doing
        self._options = onnxruntime.RunOptions
        self._alone = threading.Lock()

        def made(count: int) -> Any:
            with patient():
                return make(count)

        self._widths = Widths(made, _processors(threads))
        self._copyable = copyable(self._widths.wide)

    @property
    def wide(self) -> Any:
        """The object for a call that is alone. Raises RuntimeError where it is closed."""
        return self._widths.wide

    def close(self) -> None:
        """Lets it go. Calls that are running keep it until they are done."""
        self._widths.close()

    @contextmanager
    def to_call(self) -> Iterator[Any]:
        """The object for one call. Raises RuntimeError where it is closed, or the call was cancelled meanwhile."""
        if not self._copyable:
            with self._alone:
                yield self.wide
            return
        options = self._options()
        options.log_severity_level = FATAL

        def stop() -> None:
            options.terminate = True

        shared = self._widths.enter()
        try:
            with on_cancel(stop):
                yield self._copied(shared, options)
        finally:
            self._widths.leave()
        # The libraries answer a run that failed with fewer lines, or uncorrected ones, and say nothing.
        if options.terminate:
            raise RuntimeError(f"cancelled while {self._doing}")
