"""Where small models are kept between runs, and how they are made once, whoever asks for one at the same time.

kept("marian") ─► <cache>/tiny-models-<digest of this package's code>/marian
                  made by `python -m scripts.tiny_models FOLDER`, in one thread
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent.parent
ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONHASHSEED": "0", "HF_HUB_OFFLINE": "1"}


def kept(name: str) -> str:
    """The folder of one of the models; all are made now where they are not there.

    Raises RuntimeError, with what their maker said.
    """
    place = cache()
    path = os.path.join(place, f"tiny-models-{_digest()}")
    if not os.path.isdir(path):
        os.makedirs(place, mode=0o700, exist_ok=True)
        with open(f"{path}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not os.path.isdir(path):
                _make(path)
    return os.path.normpath(os.path.join(path, name))


def cache() -> str:
    """The directory: $SHAREDMODEL_CACHE, else `sharedmodel` in $XDG_CACHE_HOME or ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.environ.get("SHAREDMODEL_CACHE") or os.path.join(base, "sharedmodel")


def _make(path: str) -> None:
    beside = f"{path}.part"
    shutil.rmtree(beside, ignore_errors=True)  # of one who was killed; the lock is ours
    done = subprocess.run(
        [sys.executable, "-m", __package__, beside], cwd=ROOT, env={**os.environ, **ONE_THREAD},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"the small models could not be made: {done.stderr.strip()[-2000:]}")
    os.rename(beside, path)


def _digest() -> str:
    """Of the code that makes them: another recipe is another model."""
    found = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        found.update(file.read_bytes())
    return found.hexdigest()[:16]
