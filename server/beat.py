"""The thread that makes the rounds: canaries that are due, models that have been idle for their time to live."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

from .rounds import NEVER
from .ward import Ward

LONGEST: Final = 3600.0  # seconds; a time to live may be longer than a thread can wait

logger = logging.getLogger("sharedmodel.host")


class Beat:
    """Sleeps until something is due; `nudge` tells that this may have changed."""

    def __init__(self, wards: Callable[[], Iterable[Ward]], clock: Callable[[], float] = time.monotonic) -> None:
        self._wards = wards
        self._clock = clock
        self._nudged = threading.Event()
        self._stopped = False

    def start(self) -> None:
        threading.Thread(target=self._run, name="beat", daemon=True).start()

    def nudge(self) -> None:
        """Look again now. From any thread."""
        self._nudged.set()

    def stop(self) -> None:
        """Make no more rounds."""
        self._stopped = True
        self._nudged.set()

    def look(self) -> float:
        """Make the rounds that are due; how many seconds until the next look."""
        now = self._clock()
        return min((ward.look(now) for ward in self._wards()), default=NEVER) - now

    def _run(self) -> None:
        while True:
            self._nudged.clear()
            if self._stopped:
                return
            try:
                left = self.look()
            except Exception:  # a fault of ours, or no further threads: the models go on, the rounds later
                logger.exception("the rounds of the models could not be made")
                left = 1.0
            self._nudged.wait(min(LONGEST, max(0.0, left)))
