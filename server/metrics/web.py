"""``python -m sharedmodel.server.metrics.web DIRECTORY FD SUPERVISOR``: metrics and health over HTTP.

    GET /metrics       Prometheus's text format, or OpenMetrics where it is asked for
    GET /health/live   200 while the supervisor answers
    GET /health/ready  200 while every model that should be ready is; else 503 and the reasons, as JSON

A process of its own, on a listening socket that its supervisor holds: neither a library for HTTP nor a reader
that dawdles is the supervisor's burden, and it asks as anybody would, on the control socket.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import select
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any, Final

from sharedmodel.errors import SharedModelError

from ..control import ask
from ..place import Place
from ..tether import end_with
from .exposition import negotiated
from .health import unready

JSON: Final = "application/json"
TEXT: Final = "text/plain; charset=utf-8"
AT_ONCE: Final = 16  # readers; the others wait in the backlog, or make those go that say nothing
SOON: Final = 0.1  # seconds in which a request is there, from a reader that has one
PATIENCE: Final = 5.0  # seconds for a request to be there, and for each part of the answer to be taken
_LIVE_TIMEOUT: Final = 2.0

Page = tuple[int, str, bytes]


class Pages:
    """What there is to read. No sockets but the control socket."""

    def __init__(self, control: str) -> None:
        self._control = control
        self._pages: dict[str, Callable[[str], Page]] = {
            "/metrics": self._metrics,
            "/health/live": self._live,
            "/health/ready": self._ready,
        }

    def get(self, path: str, accept: str = "") -> Page:
        """Status, content type and body."""
        make = self._pages.get(path.partition("?")[0])
        if make is None:
            return 404, TEXT, f"nothing here; there are: {', '.join(self._pages)}\n".encode()
        try:
            return make(accept)
        except (SharedModelError, OSError) as exc:
            return 503, JSON, _json({"ready": False, "reasons": [{"server": self._control, "reason": str(exc)}]})

    def _metrics(self, accept: str) -> Page:
        body, kind = negotiated(ask(self._control, "status"), accept)
        return 200, kind, body

    def _live(self, accept: str) -> Page:
        return 200, JSON, _json({"live": True, **ask(self._control, "live", timeout=_LIVE_TIMEOUT)})

    def _ready(self, accept: str) -> Page:
        reasons = unready(ask(self._control, "status"))
        return 503 if reasons else 200, JSON, _json({"ready": not reasons, "reasons": reasons})


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


class _Request(io.RawIOBase):
    """The bytes of a socket until a time: its own time-out begins anew with each byte that comes."""

    def __init__(self, sock: socket.socket, end: float) -> None:
        self._sock = sock
        self._end = end

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        patience = self._sock.gettimeout()
        self._sock.settimeout(left)
        try:
            return self._sock.recv_into(buffer)
        finally:
            self._sock.settimeout(patience)


class _Handler(BaseHTTPRequestHandler):
    server: WebServer

    def setup(self) -> None:
        super().setup()
        self.connection.settimeout(self.server.patience)
        self.rfile.close()
        self.rfile = io.BufferedReader(_Request(self.connection, time.monotonic() + self.server.patience))

    def do_GET(self) -> None:
        self.server.heard(self.connection)
        status, kind, body = self.server.pages.get(self.path, self.headers.get("Accept", ""))
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Who reads metrics is no news."""


class WebServer(socketserver.ThreadingMixIn, socketserver.BaseServer):
    """Serves pages on a listening socket; a thread for each reader."""

    daemon_threads = True

    def __init__(self, listener: socket.socket, pages: Pages, patience: float = PATIENCE) -> None:
        super().__init__(listener.getsockname(), _Handler)
        self.socket = listener
        self.pages = pages
        self.patience = patience
        self._room = threading.BoundedSemaphore(AT_ONCE)
        self._silent: dict[socket.socket, float] = {}  # whose request has not come, and since when; the oldest first
        self._lock = threading.Lock()

    def fileno(self) -> int:
        return self.socket.fileno()

    def get_request(self) -> tuple[socket.socket, Any]:
        return self.socket.accept()

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._room.acquire(blocking=False):  # a port that waits for who is silent is not live
            while not self._room.acquire(timeout=self._turn_one_away()):
                pass
        with self._lock:
            self._silent[request] = time.monotonic()
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread is left for this reader; the place is another's
            self._room.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def heard(self, request: socket.socket) -> None:
        """What a reader wants is known, or it has gone."""
        with self._lock:
            self._silent.pop(request, None)

    def _turn_one_away(self) -> float:
        """The one that has been silent for longest, if that is long enough; after how many seconds to look again."""
        with self._lock:
            for request, since in list(self._silent.items()):
                if (left := since + SOON - time.monotonic()) > 0:
                    return left
                if not _has_said(request):
                    del self._silent[request]
                    with contextlib.suppress(OSError):
                        request.shutdown(socket.SHUT_RDWR)  # its thread reads the end, and lets it go
                    break
        return SOON

    def shutdown_request(self, request: Any) -> None:
        self.heard(request)
        request.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A reader that goes away in the middle is no news either."""


def _has_said(request: socket.socket) -> bool:
    """Whether there is something that its thread has still to read."""
    poll = select.poll()
    poll.register(request, select.POLLIN)
    return bool(poll.poll(0))


def main() -> int:
    directory, fd, supervisor = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    end_with(supervisor)
    os.set_inheritable(fd, False)
    with socket.socket(fileno=fd) as listener:
        WebServer(listener, Pages(Place(directory).control)).serve_forever(poll_interval=60)
    return 0


if __name__ == "__main__":
    sys.exit(main())
