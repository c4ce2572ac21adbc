"""Web servers for tests: gunicorn as a process, on a socket that is made here, and plain HTTP to it."""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from scripts import pages

from .servers import until

EXAMPLES = Path(__file__).parent.parent / "examples"
WORKERS = 4
PATIENCE = 200.0  # seconds: a host with OCR may take its time to come back


class Reply(NamedTuple):
    """An answer: its body is JSON, or bytes where it is something else."""

    status: int
    headers: dict[str, str]
    body: Any


class Web:
    """A web server that was started."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self._log = log

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def workers(self) -> set[int]:
        return {child.pid for child in psutil.Process(self.process.pid).children()}

    def get(self, path: str) -> Reply:
        return self.ask("GET", path)

    def post(self, path: str, value: Any) -> Reply:
        return self.ask("POST", path, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def upload(self, path: str, picture: bytes) -> Reply:
        mark = uuid.uuid4().hex
        head = f'--{mark}\r\nContent-Disposition: form-data; name="picture"; filename="page.png"\r\n\r\n'
        body = head.encode() + picture + f"\r\n--{mark}--\r\n".encode()
        return self.ask("POST", path, body, {"Content-Type": f"multipart/form-data; boundary={mark}"})

    def ask(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Reply:
        """A request on a connection of its own, sent once: a connection that is lost is an error here."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, headers or {})
            return _reply(connection.getresponse())
        finally:
            connection.close()

    def reload(self) -> None:
        """SIGHUP, and wait until none of the workers of before is left and all the new ones are there."""
        before = self.workers()
        self.process.send_signal(signal.SIGHUP)
        until(
            lambda: not before & self.workers() and len(self.workers()) == len(before),
            lambda: f"workers {before} are now {self.workers()}; log:\n{self.log}",
        )


def _reply(response: http.client.HTTPResponse) -> Reply:
    body: Any = response.read()
    headers = {name.lower(): value for name, value in response.getheaders()}
    if headers.get("content-type", "").startswith("application/json"):
        body = json.loads(body)
    return Reply(response.status, headers, body)


@contextmanager
def gunicorn(directory: str, *words: str, **environment: str) -> Iterator[Web]:
    """gunicorn with these words, which name the application; its working directory is that of the examples.

    It must end with exit code 0, unless it was ended in the block.
    """
    log = Path(directory, f"web-{uuid.uuid4().hex[:6]}.log")
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener, log.open("wb") as out:
        command = [sys.executable, "-m", "gunicorn", "--bind", f"fd://{listener.fileno()}", "--no-control-socket"]
        process = subprocess.Popen(
            [*command, *words], stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=EXAMPLES,
            pass_fds=[listener.fileno()], env={**os.environ, **environment},
        )  # fmt: skip
        port = listener.getsockname()[1]
    web = Web(process, port, log)
    size = int(words[words.index("-w") + 1]) if "-w" in words else WORKERS
    try:
        until(lambda: len(web.workers()) == size, lambda: web.log)  # a reload replaces those that there are
        yield web
        if process.poll() is None:
            process.terminate()
            assert process.wait(PATIENCE) == 0, web.log
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


@contextmanager
def under_load(calls: list[Callable[[], None]], most: int) -> Iterator[list[int]]:
    """These calls made again and again meanwhile, each by a thread of its own; how often each has been.

    What one raises is raised at the end. The block must end before ``most`` calls of each.
    """
    counts = [0] * len(calls)
    failures: list[BaseException] = []
    over = threading.Event()

    def loop(number: int) -> None:
        try:
            while not over.is_set() and counts[number] < most:
                calls[number]()
                counts[number] += 1
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=loop, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    try:
        yield counts
    finally:
        over.set()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]
    assert max(counts) < most, "the load was over before what it was for"


def more(counts: list[int], by: int, of: int | None = None) -> None:
    """Wait until each call, or that one ``of`` them, has been made so often once more."""
    goal = {number: counts[number] + by for number in (range(len(counts)) if of is None else [of])}

    def reached() -> bool:
        return all(counts[number] >= then for number, then in goal.items())

    until(reached, lambda: f"{counts}, not {goal}", PATIENCE)


def documented(name: str, language: str) -> list[str]:
    """The programs in one of the documents."""
    text = (EXAMPLES.parent / "docs" / f"{name}.md").read_text()
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def png(page: pages.Page) -> bytes:
    """A drawn page as a file."""
    file = io.BytesIO()
    page.image.save(file, "PNG")
    return file.getvalue()
