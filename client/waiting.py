"""Waiting for a model that is not loaded yet: as long as it takes, but not in silence.

The host answers after a while how far it is. A download is worth a warning, which is seen wherever logging is not
set up; whoever waits for less is told on the level INFO.
"""

from __future__ import annotations

from typing import Any, Final

from sharedmodel import deadlines

from .again import DIRECTORY, Where, asked

PATIENCE: Final = 10.0  # seconds between two lines


def described(where: Where, name: str, end: float | None) -> dict[str, Any]:
    """What is to be known of a model, once it is loaded. Raises DeadlineExceeded, which says how far it is."""
    while True:
        told: dict[str, Any] = asked(where, DIRECTORY, "describe", name, PATIENCE, timeout=deadlines.left(end))
        if is_there(told):
            return told


def is_there(told: dict[str, Any]) -> bool:
    """Whether a model is loaded, by what the host's directory tells of it; else how far it is, is logged."""
    why = told.get("not_yet")
    if why is not None:
        import logging  # half a megabyte of every client, which few of them need

        level = logging.WARNING if "downloading" in why else logging.INFO
        logging.getLogger("sharedmodel.client").log(level, "%s", why)
    return why is None
