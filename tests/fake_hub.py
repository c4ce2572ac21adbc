"""A hub on this machine: it serves one folder under any name of one owner, to the hub's real client, and can be
made to misbehave.

    GET  /api/models/ID/revision/REVISION    what is in it, and its commit
    GET  /api/models/ID/tree/COMMIT
    HEAD /ID/resolve/COMMIT/FILE             size, digest, commit
    GET  /ID/resolve/COMMIT/FILE             the file, or the part of it that is asked for

That huggingface_hub downloads from it, and finds what it has downloaded, is the proof that it is like the real one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest

OWNER: Final = "org"
COMMIT: Final = "0123456789abcdef0123456789abcdef01234567"
NEXT: Final = "89abcdef0123456789abcdef0123456789abcdef"
_API: Final = re.compile(r"/api/models/(?P<id>[^/]+/[^/]+)/(?P<what>revision|tree)/(?P<revision>[^/?]+)")
_FILE: Final = re.compile(r"/(?P<id>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>[^?]+)")


class Hub:
    """``asked`` counts requests, by method, name and file (None: what is about the whole)."""

    def __init__(self, folder: str | Path) -> None:
        self.asked: Counter[tuple[str, str, str | None]] = Counter()
        self.ranges: list[str] = []
        self.refusals: dict[str, tuple[int, str]] = {}  # by name: a status, and the hub's own code for why
        self.updated: set[str] = set()  # names with another commit, in which all files have other bytes
        self.broken: dict[str, int] = {}  # files that are answered with a status
        self.cut: set[str] = set()  # files whose next answer ends half-way
        self.held: dict[str, threading.Event] = {}  # files whose second half waits
        self.files = {
            os.path.relpath(path, folder): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()
        }
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), lambda *args: _Handler(self, *args))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), name="fake hub")
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def size(self) -> int:
        return sum(map(len, self.files.values()))

    def commit(self, name: str) -> str:
        """The one that a name stands for now."""
        return NEXT if name in self.updated else COMMIT

    def content(self, name: str) -> dict[str, bytes]:
        """Its files."""
        return {path: data + b" " * (name in self.updated) for path, data in self.files.items()}

    def downloads(self, name: str) -> dict[str, int]:
        """How often each file was begun to be sent, under a name."""
        return {path: self.asked["GET", name, path] for path in self.files}

    def hold(self, path: str) -> threading.Event:
        """Send only the first half of a file until the event is set."""
        self.held[path] = threading.Event()
        return self.held[path]

    def release(self) -> None:
        """Send the rest of all that is held."""
        for event in self.held.values():
            event.set()

    def close(self) -> None:
        self.release()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, hub: Hub, *args: Any) -> None:
        self._hub = hub
        super().__init__(*args)

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub = self._hub
        self.close_connection = True
        found = _API.match(self.path) or _FILE.match(self.path)
        path = found.groupdict().get("path") if found else None
        name = found["id"] if found else ""
        hub.asked[str(self.command), name, path] += 1
        if name in hub.refusals:
            self._refuse(*hub.refusals[name])
        elif found is None or not name.startswith(f"{OWNER}/"):
            self._refuse(404, "RepoNotFound")
        elif found["revision"] not in ("main", hub.commit(name)):
            self._refuse(404, "RevisionNotFound")
        elif path is None:
            self._tell(name, found["what"])
        elif path in hub.broken and self.command == "GET":
            self._refuse(hub.broken[path], "")
        else:
            self._file(path, hub.content(name)[path], hub.commit(name))

    def _begin(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Connection", "close")

    def _refuse(self, status: int, code: str) -> None:
        self._begin(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _tell(self, name: str, what: str) -> None:
        content = self._hub.content(name)
        files = [(path, len(data), hashlib.sha1(data).hexdigest()) for path, data in content.items()]
        told: Any = {
            "id": name, "sha": self._hub.commit(name),
            "siblings": [{"rfilename": path, "size": size, "blobId": digest} for path, size, digest in files],
        }  # fmt: skip
        if what == "tree":
            told = [{"type": "file", "path": path, "size": size, "oid": digest} for path, size, digest in files]
        data = json.dumps(told).encode()
        self._begin(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _file(self, path: str, data: bytes, commit: str) -> None:
        hub, begin = self._hub, 0
        if (asked := self.headers.get("Range")) is not None:
            hub.ranges.append(asked)
            begin = int(asked.removeprefix("bytes=").partition("-")[0])
        self._begin(206 if begin else 200)
        self.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", str(len(data) - begin))
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        half = (begin + len(data)) // 2
        self._send(data[begin:half])
        if path in hub.cut:
            hub.cut.discard(path)
            return
        if path in hub.held:
            hub.held[path].wait()
        self._send(data[half:])

    def _send(self, data: bytes) -> None:
        try:
            self.wfile.write(data)
            self.wfile.flush()
        except OSError:
            pass  # the client has gone

    def log_message(self, *_: object) -> None:
        """Nothing: the counts say it."""


@contextmanager
def serving(folder: str | Path, home: str | Path) -> Iterator[Hub]:
    """A hub that processes started in the block ask, and keep what it gives in ``home``; and this one, where it has
    not imported the hub's library yet."""
    hub = Hub(folder)
    try:
        with pytest.MonkeyPatch.context() as patch:
            for variable, value in environment(hub, home).items():
                patch.setenv(variable, value)
            for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN", "HF_HUB_CACHE"):
                patch.delenv(variable, raising=False)
            yield hub
    finally:
        hub.close()


def environment(hub: Hub, home: str | Path) -> dict[str, str]:
    """Who has these variables asks this hub and no other; its protocol for large files is another one, and left out."""
    return {
        "HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1",
        "SHAREDMODEL_CACHE": os.path.join(home, "made"), "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1",
    }  # fmt: skip
