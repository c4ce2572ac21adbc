"""Requests to the FastAPI example, each with its right answer, and how many of them come back a second."""

from __future__ import annotations

import http.client
import json
import threading
import time
import uuid
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from scripts import pages
from tests.web import Web, png

CLIENTS: Final = 8
LINES: Final = 4
TEXTS: Final = ["The ferry crosses the bay only twice a day.", "Bread dough should rest in a warm place."]
ENDPOINTS: Final = ("ocr", "embed")
PATIENCE: Final = 120.0  # seconds


class Rate(NamedTuple):
    """Requests a second, and times of answers in seconds."""

    rps: float
    p50: float
    p99: float


class Request(NamedTuple):
    """What is sent, and what comes back where all is well."""

    path: str
    body: bytes
    headers: dict[str, str]


class Load:
    """The requests, and whether an answer is right."""

    def __init__(self) -> None:
        (page,) = pages.make(1, lines=LINES)
        mark = uuid.uuid4().hex
        head = f'--{mark}\r\nContent-Disposition: form-data; name="picture"; filename="page.png"\r\n\r\n'
        upload = head.encode() + png(page) + f"\r\n--{mark}--\r\n".encode()
        self.requests: Mapping[str, Request] = {
            "ocr": Request("/ocr", upload, {"Content-Type": f"multipart/form-data; boundary={mark}"}),
            "embed": Request("/embed", json.dumps({"texts": TEXTS}).encode(), {"Content-Type": "application/json"}),
        }
        self._lines = list(page.lines)
        self._vectors: Any = None

    def send(self, web: Web, name: str) -> tuple[int, Any]:
        """The status and the body of one answer, text where that is not 200. Raises OSError or HTTPException where the
        connection is lost.
        """
        request = self.requests[name]
        connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=PATIENCE)
        try:
            connection.request("POST", request.path, request.body, request.headers)
            response = connection.getresponse()
            told = response.read()
            return response.status, json.loads(told) if response.status == 200 else told.decode(errors="replace")
        finally:
            connection.close()

    def is_right(self, name: str, body: Any) -> bool:
        """The lines of the page; the vectors that the first answer of all had."""
        if name == "ocr":
            return [line["text"] for line in body["lines"]] == self._lines
        found = np.array(body["vectors"])
        if self._vectors is None:
            self._vectors = found
        return bool(np.allclose(found, self._vectors, atol=1e-5))


def measured(load: Load, web: Web, name: str, seconds: float) -> Rate:
    """A closed loop of clients for so long. Raises AssertionError for an answer that is not right."""
    taken: list[float] = []
    failures: list[str] = []
    load.send(web, name)
    begun = time.perf_counter()

    def loop() -> None:
        while (sent := time.perf_counter()) < begun + seconds and not failures:
            status, body = load.send(web, name)
            taken.append(time.perf_counter() - sent)
            if status != 200 or not load.is_right(name, body):
                failures.append(f"{name}: {status}, {body}")

    clients = [threading.Thread(target=loop) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert not failures, failures[0]
    return Rate(len(taken) / (time.perf_counter() - begun), *(float(np.quantile(taken, q)) for q in (0.5, 0.99)))
