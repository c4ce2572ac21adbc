"""Log lines of our processes: one format, on standard error."""

from __future__ import annotations

import logging
import os
from typing import Final

LEVELS: Final = ("debug", "info", "warning", "error")


def set_up(role: str, level: str) -> None:
    """Log to standard error. Libraries are heard only when something is wrong."""
    form = f"%(asctime)s {role}[{os.getpid()}] %(levelname)s %(message)s"
    logging.basicConfig(format=form, datefmt="%Y-%m-%d %H:%M:%S", level=logging.WARNING, force=True)
    logging.getLogger("sharedmodel").setLevel(level.upper())
