"""`python -m scripts.tiny_models FOLDER` makes all of them in a new folder; without one, says where they are kept."""

from __future__ import annotations

import os
import sys

from . import heads, marian
from .cache import kept


def make(to: str) -> None:
    """Fill a new folder, in one thread: the same machine makes the same weights."""
    import torch

    torch.set_num_threads(1)
    os.mkdir(to)
    marian.make(os.path.join(to, "marian"))
    heads.make(to)


if __name__ == "__main__":
    make(*sys.argv[1:]) if len(sys.argv) > 1 else print(kept("."))
