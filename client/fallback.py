"""Where there is no host, because this is not Linux: the library itself, in this process, behind the same import."""

from __future__ import annotations

import importlib
import sys
import warnings
from typing import Any


def fall_back(library: str, namespace: dict[str, Any], *, quietly: bool = False) -> None:
    """Fill a stand-in's module with the names of the library, after one warning."""
    if not quietly:
        warnings.warn(
            f"sharedmodel shares models on Linux only, and this is {sys.platform}: "
            f"{library} runs in this process, with a copy of its own",
            RuntimeWarning,
            stacklevel=3,
        )
    module = importlib.import_module(library)
    kept = {name: value for name, value in vars(module).items() if not _is_of_the_module(name)}
    namespace.update(kept)


def _is_of_the_module(name: str) -> bool:
    return name.startswith("__") and name not in ("__version__", "__all__", "__author__")
