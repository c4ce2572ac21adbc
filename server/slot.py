"""One model of a host: absent, loading, ready, or failed with the reason.

    absent ─► loading ─► ready ─► absent (unloaded: the next call loads it again)
                 └─────► failed ─► loading (a call after the pause tries again)

Any number of callers may ask at once; one load runs, on a thread of its own, and holds no lock.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, Final

from sharedmodel.errors import LoadFailed, RemoteTraceback
from sharedmodel.objects import Served

ABSENT: Final = "absent"
LOADING: Final = "loading"
READY: Final = "ready"
FAILED: Final = "failed"
RETRY_AFTER: Final = 5.0

logger = logging.getLogger("sharedmodel.host")


class Slot:
    """The state of one model. ``load`` makes and publishes it; ``changed`` hears of each new state."""

    def __init__(
        self,
        name: str,
        load: Callable[[], Served],
        changed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.state = ABSENT
        self.reason = ""
        self.seconds = 0.0
        self._load = load
        self._changed = changed
        self._clock = clock
        self._condition = threading.Condition()
        self._served: Served | None = None
        self._trace = ""
        self._raised = ("", "")
        self._failed_at = 0.0

    def start(self) -> None:
        """Begin to load unless that is done, under way, or has failed a moment ago."""
        with self._condition:
            waits = self.state == FAILED and self._clock() < self._failed_at + RETRY_AFTER
            if self.state in (LOADING, READY) or waits:
                return
            self.state = LOADING
        self._changed()  # first, so that it is known what was loading should that be the end of the host
        threading.Thread(target=self._run, name=f"load-{self.name}", daemon=True).start()

    def wait(self) -> Served:
        """The object, loaded if need be. Raises LoadFailed with the reason."""
        self.start()
        with self._condition:
            self._condition.wait_for(lambda: self.state != LOADING)
            if self._served is not None:
                return self._served
            raise LoadFailed(self.reason or f"model {self.name!r} was unloaded", *self._raised) from (
                RemoteTraceback(self._trace) if self._trace else None
            )

    def unload(self) -> Any:
        """Back to absent; the object, for its owner to let go of. A load that runs is waited for."""
        with self._condition:
            self._condition.wait_for(lambda: self.state != LOADING)
            served, self._served = self._served, None
            self.state = ABSENT
            self.reason = self._trace = ""
            self._raised = ("", "")
        self._changed()
        return served.obj if served is not None else None

    def describe(self) -> dict[str, Any]:
        """The state as plain data."""
        told = {"state": self.state}
        if self.reason:
            told["reason"] = self.reason
        return told | {"seconds": round(self.seconds, 3)}

    def _run(self) -> None:
        started = self._clock()
        served: Served | None = None
        reason = trace = ""
        raised = ("", "")
        try:
            served = self._load()
        except BaseException as exc:  # SystemExit of a factory must not be silence
            reason, trace = self._explain(exc)
            raised = (f"{type(exc).__module__}.{type(exc).__qualname__}", _plain(str(exc)))
        seconds = self._clock() - started
        with self._condition:
            self._served, self.reason, self._trace, self.seconds = served, reason, trace, seconds
            self._raised, self._failed_at = raised, self._clock()
            self.state = FAILED if served is None else READY
            self._condition.notify_all()
        if served is None:
            logger.error("%s\n%s", reason, trace.rstrip())
        else:
            logger.info("model %s is ready after %.1f s", self.name, seconds)
        self._changed()

    def _explain(self, exc: BaseException) -> tuple[str, str]:
        # As text: a kept exception would pin its frames, and what they hold is large.
        text = f"model {self.name!r} could not be loaded: {type(exc).__name__}: {exc}"
        return _plain(text), _plain("".join(traceback.format_exception(exc)))


def _plain(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
