"""What malloc keeps for later. Knows only this process's C library."""

from __future__ import annotations

import ctypes
import os
from typing import Final

ARENAS: Final = 2
_M_ARENA_MAX: Final = -8


def settle() -> None:
    """Have all threads share two heaps, in a process that serves; what the environment says of it goes first.

    glibc gives each thread its own, up to eight a core, and each keeps tens of MB after large results.
    """
    call = getattr(ctypes.CDLL(None), "mallopt", None)
    if call is not None and "MALLOC_ARENA_MAX" not in os.environ and "GLIBC_TUNABLES" not in os.environ:
        call(_M_ARENA_MAX, ARENAS)


def trim() -> bool:
    """Give the free memory of malloc back to the kernel; whether there was any. False where libc has no such call.

    What is free at the end of a heap other than the first stays: at most 64 MB of each (glibc, arena.c).

    Milliseconds for a heap of GBs, during which other threads' malloc waits: after an outlier or when idle,
    not after each call.
    """
    call = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if call is None:  # musl
        return False
    call.argtypes, call.restype = [ctypes.c_size_t], ctypes.c_int
    return bool(call(0))
