"""A /dev/shm of this process's own, for tests beside which others run.

A mount namespace holds it. Every process that is started from here, detached or not, leaves its names
there, also after its death; and a janitor finds there what these processes left and nothing else. What
lies outside is not seen: neither the names of other test processes nor those of other programs.
"""

from __future__ import annotations

import ctypes
import os
import subprocess

from sharedmodel import segment

_CLONE_NEWNS = 0x20000
_MS_NOSUID, _MS_NODEV, _MS_REC, _MS_PRIVATE = 2, 4, 1 << 14, 1 << 18


def is_permitted() -> bool:
    """Whether this process may have a mount namespace: it takes root and CAP_SYS_ADMIN."""
    try:
        return subprocess.run(["unshare", "--mount", "true"], stderr=subprocess.DEVNULL, check=False).returncode == 0
    except FileNotFoundError:
        return False


def enter() -> None:
    """Give the calling thread, and what it starts from now on, an empty /dev/shm as large as the machine's.

    Raises OSError (EPERM) where it is not permitted.
    """
    stat = os.statvfs(segment.DIRECTORY)
    _call("unshare", _CLONE_NEWNS)
    # Nothing that is mounted here shall show outside.
    _call("mount", None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None)
    options = f"size={stat.f_blocks * stat.f_frsize},mode=1777".encode()
    where = segment.DIRECTORY.encode()
    _call("mount", b"tmpfs", where, b"tmpfs", ctypes.c_ulong(_MS_NOSUID | _MS_NODEV), options)


def _call(name: str, *arguments: object) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
