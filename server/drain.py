"""The end of a loaded object: the calls inside it finish, it is closed, and its memory goes back."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import os
from collections.abc import Iterator
from typing import Any, Final

from .lease import Leased
from .machine.torch_cache import empty_cache
from .scheduling.calls import Schedule

_TELL_EVERY: Final = 60.0
_M_TRIM_THRESHOLD: Final = -1
_LITTLE: Final = 128 << 10

logger = logging.getLogger("sharedmodel.host")


def drain(name: str, leased: Leased) -> None:
    """Return when the object is closed and nothing here refers to it any more.

    Calls that wait for it go to the one that follows. Those inside may take as long as they do: a stuck one is ended
    by the model's `max_run`, with its host.
    """
    leased.retire()
    if isinstance(leased.schedule, Schedule):
        leased.schedule.pass_on()
    while not leased.wait_until_empty(_TELL_EVERY):
        logger.warning("model %s: %d calls still run on an object that was let go of", name, leased.inside)
    with returning_memory():
        close(name, leased.forget())


def close(name: str, obj: Any) -> None:
    """Let a model close itself, if it can."""
    try:
        ending = getattr(obj, "close", None)
        if callable(ending):
            ending()
    except Exception:
        logger.exception("model %s could not be closed", name)


@contextlib.contextmanager
def returning_memory() -> Iterator[None]:
    """What is freed in the block goes back to the machine, and what is free already as well."""
    libc = ctypes.CDLL(None)
    trim = getattr(libc, "malloc_trim", None)  # glibc has it, musl does not
    kept = os.environ.get("MALLOC_TRIM_THRESHOLD_", "")
    # Loaded on a thread, a model lies in an arena whose end malloc_trim does not give back, but a free does
    # beyond the threshold: 64 of 144 MB stayed where the host's own was left as it is.
    if trim is not None and kept.isdigit():
        libc.mallopt(_M_TRIM_THRESHOLD, _LITTLE)
    try:
        yield
        gc.collect()  # models are full of cycles
        _empty_cache()
    finally:
        if trim is not None:
            trim(0)
            if kept.isdigit():
                libc.mallopt(_M_TRIM_THRESHOLD, int(kept))


def _empty_cache() -> None:
    try:
        empty_cache()
    except Exception:  # a GPU after a fault: the model is gone all the same
        logger.exception("PyTorch did not give back its GPU's memory")
