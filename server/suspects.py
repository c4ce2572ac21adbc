"""Calls that were executing when a host died of something unexplained: they may be what killed it.

The supervisor collects them (`Suspects`) and tells every host of every death (`Deaths`), so that whoever
lost its call may ask any of them whether it is free to be sent again, or to run alone in quarantine.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import Any, Final

REMEMBERED: Final = 64  # deaths
NEWS_TIMEOUT: Final = 5.0  # seconds a host waits to hear of a death that a caller has seen already


class Suspects:
    """The supervisor's memory of deaths, newest last."""

    def __init__(self) -> None:
        self._deaths: deque[list[Any]] = deque(maxlen=REMEMBERED)

    def died(self, pid: int, reason: str, executing: list[list[int]], outside: bool = False) -> None:
        """A host is dead; ``executing`` is empty where the cause is known and none of them.

        ``outside``: others killed it, which may or may not be for what one of these does.
        """
        self._deaths.append([pid, reason, executing, outside])

    def told(self) -> list[list[Any]]:
        """As plain data, for the hosts."""
        return list(self._deaths)


class Deaths:
    """What a host was told of them."""

    def __init__(self, told: list[list[Any]], quarantine: str) -> None:
        self._quarantine = quarantine
        self._news = threading.Condition()
        self._told = told

    def update(self, told: list[list[Any]]) -> None:
        with self._news:
            self._told = told
            self._news.notify_all()

    def verdict(self, pid: int, session: int, request: int) -> dict[str, Any] | None:
        """None for a call that may simply be sent again; else where it is to run alone, and why.

        With ``outside`` it was executing when others killed its host: it runs alone should that happen again and again.
        Waits, 5 s at most, for the news of the death of host ``pid``.
        """
        with self._news:
            # A session may be over without its host's death.
            self._news.wait_for(lambda: self._of(pid) is not None or pid == os.getpid(), NEWS_TIMEOUT)
            death = self._of(pid)
        if death is None or [session, request] not in death[2]:
            return None
        return {"address": self._quarantine, "reason": death[1]} | ({"outside": True} if death[3:] == [True] else {})

    def _of(self, pid: int) -> list[Any] | None:
        return next((death for death in reversed(self._told) if death[0] == pid), None)
