"""Where small models are kept between runs, and how they are made once, whoever asks for one at the same time.

kept("marian") ─► <cache>/tiny-models-<digest of this package's code>/marian
                  made by `python -m scripts.tiny_models FOLDER`, in one thread
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from sharedmodel.server.models import made

ROOT: Final = Path(__file__).parent.parent.parent
ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}


def kept(name: str) -> str:
    """The folder of one of the models; all are made now where they are not there.

    Raises RuntimeError, with what their maker said.
    """
    # Of the code that makes them: another recipe is another model.
    digest = made.digest(sorted(Path(__file__).parent.glob("*.py")))[:16]
    return os.path.normpath(os.path.join(made.kept(f"tiny-models-{digest}", _make), name))


def _make(path: str) -> None:
    made.run_maker(__package__, "the small models could not be made", path, cwd=ROOT, env=ONE_THREAD)
