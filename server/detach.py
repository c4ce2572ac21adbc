"""An embedded server leaves the session and the folder of the process that happened to be first."""

from __future__ import annotations

import os


def detach() -> None:
    """Called once, before anything is opened. Descriptors are the starter's to close (it waits on one)."""
    if os.getpid() != os.getsid(0):
        try:
            os.setsid()
        except PermissionError:
            pass  # it leads a process group: a shell's job, started by hand
    os.chdir("/")
