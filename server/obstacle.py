"""What keeps a server from starting though its configuration is well: it may go away, and the start is tried again."""

from __future__ import annotations

import errno
from typing import Final

from sharedmodel.errors import SharedModelError

EXIT_CODE: Final = 1  # not that of mistakes, after which the service manager does not try again (see `units`)
_SPACE: Final = "free some space there, or choose another --runtime-dir"
_RIGHTS: Final = "let this user write there, or choose another --runtime-dir"
_ADVICE: Final = {
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: _RIGHTS,
    errno.EMFILE: "raise ulimit -n",
    errno.ENFILE: "raise fs.file-max",
    errno.ENOMEM: "free some memory",
}


class Obstacle(SharedModelError):
    """Says what is in the way, and where."""


def told(exc: OSError, where: str) -> str:
    """What the system refused, of which file (``where``, if it does not say), and what to do."""
    advice = _ADVICE.get(exc.errno or 0)
    return f"{exc.filename or where}: {exc.strerror or exc}{f'; {advice}' if advice else ''}"
