"""What is made of a model's files, such as its graph: once, by a process of its own, and kept by content.

    kept(name, make)      looks in the cache, else has it made; whoever comes meanwhile waits for it
    run_maker(module, …)  that process: whatever heavy it imports is gone when it is done

The cache is $SHAREDMODEL_CACHE, else `sharedmodel` in $XDG_CACHE_HOME or ~/.cache. Names in it hold digests of
what the thing was made of.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

VARIABLE: Final = "SHAREDMODEL_CACHE"
_TAIL: Final = 2000


def kept(name: str, make: Callable[[str], None]) -> str:
    """The path of the file or folder of this name, made now where it is not there.

    ``make`` is given a path to make it at. Raises what it raises; nothing is kept then.
    """
    place = cache()
    path = os.path.join(place, name)
    if os.path.exists(path):
        return path
    os.makedirs(place, mode=0o700, exist_ok=True)
    with open(f"{path}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(path):
            beside = f"{path}.part"
            _remove(beside)  # of one who was killed; the lock is ours
            try:
                make(beside)
                os.rename(beside, path)
            finally:
                _remove(beside)
    return path


def cache() -> str:
    """The folder where things are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.environ.get(VARIABLE) or os.path.join(base, "sharedmodel")


def run_maker(
    module: str, what: str, *words: str, cwd: Path | None = None, env: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Run a module with these arguments, without hub or GPU. Raises RuntimeError with ``what`` and what it said."""
    done = subprocess.run(
        [sys.executable, "-m", module, *words],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False,
        cwd=cwd, env={**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", **env},
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{what}: {done.stderr.strip()[-_TAIL:]}")


def digest(files: Iterable[str | Path], *words: str) -> str:
    """In hexadecimal digits, of the content of files and of words."""
    found = hashlib.sha256("\0".join(words).encode())
    for path in files:
        with open(path, "rb") as file:
            found.update(hashlib.file_digest(file, "sha256").digest())
    return found.hexdigest()


def _remove(path: str) -> None:
    if os.path.isdir(path):
        shutil.rmtree(path)
    elif os.path.exists(path):
        os.unlink(path)
