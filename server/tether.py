"""Processes that are nothing without their supervisor.

    supervisor   holds one of two sockets that are a pair, and never writes
         │
    host         holds the other, and has the kernel send SIGKILL to its process group when the first is closed

The kernel closes the descriptors of a process that dies before it tells its children of its death: the group, which
a host shares with what its models start, goes as a whole, however stuck or stopped its processes are.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def end_with(supervisor: int, tether: int | None = None) -> None:
    """Have the kernel end this process when the supervisor dies, however that comes about.

    With ``tether``, its socket, all of the process group that it leads.
    """
    if tether is not None:
        fcntl.fcntl(tether, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(tether, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(tether, fcntl.F_SETFL, fcntl.fcntl(tether, fcntl.F_GETFL) | os.O_ASYNC)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor:  # it died before the kernel knew of our wish
        os._exit(0)
