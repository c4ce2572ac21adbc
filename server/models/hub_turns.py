"""One download of a thing at a time, whichever threads and processes of this user ask for it.

    first    holds the lock ─► downloads, and writes into the lock's file how far it is
    others   wait for the lock ─► read that there, and tell it as their own ─► find all of it in the cache

The kernel lets go of the lock of a process that dies; the next one then goes on where that one was. The files
lie in `downloads` in the cache of `made`. The hub's library has locks of its own, of each file: so two who don't
see each other's locks (another user, a read-only home) still do each other no harm.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator
from typing import IO, Final

from ..progress import Hear, Progress
from . import made

LOOK: Final = 0.2  # seconds: a lock tells nobody that it is free, unless he sleeps until it is
_ROOM: Final = 512  # bytes, written at once

logger = logging.getLogger("sharedmodel.hub")


@contextlib.contextmanager
def turn(key: str, hear: Hear) -> Iterator[Hear]:
    """Held by one at a time for a ``key``, which is a file's name. Who waits hears how far the one before is.

    Gives what to tell one's own progress: ``hear`` hears it, and so do all who wait.
    """
    try:
        file = _opened(key)
    except OSError as exc:
        logger.warning("downloads of several processes can't be told apart: %s", exc)
        yield hear
        return
    with file:
        while not _locked(file):
            if (told := _read(file)) is not None:
                hear(told)
            time.sleep(LOOK)

        def tell(progress: Progress | None) -> None:
            with contextlib.suppress(OSError):  # a full disk: whoever waits is told nothing
                _write(file, progress)
            hear(progress)

        try:
            yield tell
        finally:
            with contextlib.suppress(OSError):
                _write(file, None)


def _opened(key: str) -> IO[bytes]:
    folder = os.path.join(made.cache(), "downloads")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    return open(os.open(os.path.join(folder, f"{key}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b")


def _locked(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as exc:  # a file system without such locks
        logger.warning("downloads of several processes can't be told apart: %s", exc)
    return True


def _write(file: IO[bytes], progress: Progress | None) -> None:
    text = b"" if progress is None else json.dumps(progress).encode()
    os.pwrite(file.fileno(), text.ljust(_ROOM)[:_ROOM], 0)


def _read(file: IO[bytes]) -> Progress | None:
    """What the holder has written; None where that is nothing, or nothing whole."""
    try:
        return Progress(*json.loads(os.pread(file.fileno(), _ROOM, 0)))
    except (ValueError, TypeError):
        return None
