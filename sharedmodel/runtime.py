"""Where sockets lie: the user's runtime directory, private to that user."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import Final

from .errors import BadArgument, NotPermitted

# Of a full disk, or a process with too many files: another directory is no remedy, and the next attempt may do.
_PASSING: Final = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE)
VARIABLE: Final = "SHAREDMODEL_RUNTIME_DIR"


def chosen(path: str | None = None) -> str:
    """Which directory: ``path``, ``$SHAREDMODEL_RUNTIME_DIR``, ``$XDG_RUNTIME_DIR/sharedmodel``, or one in /tmp."""
    path = path or os.environ.get(VARIABLE)
    if path:
        return path
    base = os.environ.get("XDG_RUNTIME_DIR")
    return f"{base}/sharedmodel" if base and os.path.isdir(base) else f"/tmp/sharedmodel-{os.geteuid()}"


def runtime_dir(path: str | None = None) -> str:
    """The directory that is `chosen`, made if need be.

    Raises NotPermitted when it is another user's or open to others, BadArgument when it can't be made.
    """
    path = chosen(path)
    try:
        with contextlib.suppress(FileExistsError):  # of a file: told below
            os.makedirs(path, mode=0o700, exist_ok=True)
    except OSError as exc:
        if exc.errno in _PASSING:
            raise
        raise BadArgument(f"the directory {path} can't be made: {exc.strerror}; set {VARIABLE} to another") from exc
    info = os.stat(path, follow_symlinks=False)
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.geteuid():
        raise NotPermitted(f"{path} is not a directory of yours (uid {os.geteuid()}); set {VARIABLE} to one")
    if info.st_mode & 0o007 or info.st_mode & 0o020:
        raise NotPermitted(f"{path} has mode {stat.S_IMODE(info.st_mode):04o}: others may enter; run: chmod 700 {path}")
    return path


def fresh_address(prefix: str = "manager") -> str:
    """A path for a socket that nobody has used yet."""
    return os.path.join(runtime_dir(), f"{prefix}-{os.getpid()}-{os.urandom(4).hex()}.sock")
