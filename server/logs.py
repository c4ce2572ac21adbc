"""Log lines of our processes: one format, text or JSON, on standard error.

    2026-11-21 04:02:57 host ocr[4711] ERROR the text (session 3, request 17: ocr.read)
    {"time": "2026-11-21T04:02:57.123+00:00", "level": "error", "process": "host ocr", "pid": 4711,
     "logger": "sharedmodel.host", "message": "the text", "session": 3, "request": 17, "model": "ocr",
     "method": "read", "client": 4242, "exception": "Traceback ..."}

The call is the one that the logging thread is executing, or `extra={"call": call}`; what is unknown is left out.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

LEVELS: Final = ("debug", "info", "warning", "error")
FORMATS: Final = ("text", "json")


def set_up(role: str, level: str, form: str = "text", current: Callable[[], Any] = lambda: None) -> None:
    """Log to standard error as process ``role``. Libraries are heard only when something is wrong.

    ``current`` is the call that the asking thread executes, or None (see `sharedmodel.reply`).
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines(role) if form == "json" else TextLines(role))
    handler.addFilter(OfCall(current))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("sharedmodel").setLevel(level.upper())


class OfCall(logging.Filter):
    """Notes in each record which call it concerns, as ``record.of_call``."""

    def __init__(self, current: Callable[[], Any]) -> None:
        super().__init__()
        self._current = current

    def filter(self, record: logging.LogRecord) -> bool:
        call = getattr(record, "call", None) or self._current()
        # A batch is a call, but nobody's.
        record.of_call = _about(call) if hasattr(call, "peer") else {}
        return True


def _about(call: Any) -> dict[str, Any]:
    peer = call.peer
    # The model is None where the host itself is asked, whose object has a number.
    model = {"model": call.ident} if isinstance(call.ident, str) else {}
    return {"session": peer.number, "request": call.rid, **model, "method": call.method, "client": peer.who.pid}


class TextLines(logging.Formatter):
    """For people."""

    def __init__(self, role: str) -> None:
        form = f"%(asctime)s {role}[{os.getpid()}] %(levelname)s %(message)s"
        super().__init__(form, "%Y-%m-%d %H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:
        line = super().formatMessage(record)
        about = getattr(record, "of_call", None)
        if not about:
            return line
        name = f"{about['model']}.{about['method']}" if "model" in about else about["method"]
        return f"{line} (session {about['session']}, request {about['request']}: {name})"


class JsonLines(logging.Formatter):
    """One object a line, for programs."""

    def __init__(self, role: str) -> None:
        super().__init__()
        self._role = role

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self._role,
            "pid": os.getpid(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "of_call", {}),
        }
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            told["stack"] = self.formatStack(record.stack_info)
        # A lone surrogate, of a file's name say, must not keep the line from being written.
        return json.dumps(told, ensure_ascii=False, default=repr).encode("utf-8", "backslashreplace").decode()
