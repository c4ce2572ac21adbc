"""Models that clients gave as bytes: files of the embedded host, named by what is in them.

They stay while the server lives, because a host that is started again loads its models again, and go
with it; what a killed server left goes when the next one starts.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
from typing import Final

from sharedmodel.errors import BadArgument

FOLDER: Final = "given"
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class Given:
    """The files in one runtime directory. Several threads may keep the same one."""

    def __init__(self, directory: str) -> None:
        self._folder = os.path.join(directory, FOLDER)

    def path(self, digest: str) -> str | None:
        """The file with these bytes, if it is here. Raises BadArgument for what is no SHA-256."""
        path = self._path(digest)
        return path if os.path.exists(path) else None

    def keep(self, digest: str, data: bytes) -> str:
        """Write the bytes down; the file. Raises BadArgument when they are not those of the digest."""
        path = self._path(digest)
        if hashlib.sha256(data).hexdigest() != digest:
            raise BadArgument("the bytes of the model are not those that were announced")
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        fd, beside = tempfile.mkstemp(dir=self._folder)  # 0600
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(data)
            os.rename(beside, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(beside)
            raise
        return path

    def sweep(self) -> None:
        """Remove them all. For the supervisor, before there is a host and after the last."""
        with contextlib.suppress(FileNotFoundError):
            for entry in os.scandir(self._folder):
                os.unlink(entry.path)
            os.rmdir(self._folder)

    def _path(self, digest: str) -> str:
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise BadArgument(f"{digest!r} is not a SHA-256 in hexadecimal digits")
        return os.path.join(self._folder, digest)
