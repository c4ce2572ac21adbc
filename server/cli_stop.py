"""`sharedmodel stop`: asks, and waits until the supervisor is gone."""

from __future__ import annotations

import os
import select

from .control import ask
from .place import Place


def stop(place: Place, now: bool) -> None:
    """Raises HostUnavailable when nothing runs there."""
    pid = ask(place.control, "stop", hurry=now)["pid"]
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        pidfd = -1
    if pidfd >= 0:
        # It ends what does not end by itself, so this ends too.
        select.select([pidfd], [], [])
        os.close(pidfd)
    print(f"stopped (supervisor {pid})")
