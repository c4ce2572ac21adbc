"""Hosts and web workers killed at random moments, and what became of the requests meanwhile."""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import signal
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from tests.servers import Server
from tests.web import Web

from .web_load import ENDPOINTS, Load

CLIENTS: Final = 4
PAUSE: Final = 1.5  # seconds between two kills, on average
TRIES: Final = 20  # of a request whose worker was killed: nobody is left who could answer
STATED: Final = (503, 504)


@dataclass
class Ends:
    """How often each thing happened, and what should not have."""

    counts: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def storm(load: Load, web: Web, server: Server, kills: int, seed: int = 1) -> Ends:
    """Requests without a pause, until so many processes have been killed."""
    ends, over = Ends(), threading.Event()
    clients = [
        threading.Thread(target=_client, args=(load, web, ENDPOINTS[number % len(ENDPOINTS)], ends, over))
        for number in range(CLIENTS)
    ]
    for client in clients:
        client.start()
    chance = random.Random(seed)
    while sum(ends.kills.values()) < kills:
        over.wait(chance.uniform(0, 2 * PAUSE))
        _kill(chance, web, server, ends)
    over.set()
    for client in clients:
        client.join()
    return ends


def _kill(chance: random.Random, web: Web, server: Server, ends: Ends) -> None:
    workers = [("workers", pid) for pid in web.workers()]
    hosts = [("hosts", host["pid"]) for host in server.status()["hosts"] if host["pid"]]
    group = chance.choice([each for each in (workers, hosts) if each])
    what, pid = chance.choice(group)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        ends.kills[what] += 1


def _client(load: Load, web: Web, name: str, ends: Ends, over: threading.Event) -> None:
    while not over.is_set():
        try:
            told, body = _answer(load, web, name, ends)
        except Exception as exc:
            ends.wrong.append(f"{name}: {type(exc).__name__}: {exc}")
            continue
        if told == 200 and load.is_right(name, body):
            ends.counts["right"] += 1
        elif told in STATED:
            ends.counts[str(told)] += 1
        else:
            ends.wrong.append(f"{name}: {told}, {str(body)[:200]}")


def _answer(load: Load, web: Web, name: str, ends: Ends) -> tuple[int, Any]:
    for _ in range(TRIES):
        try:
            return load.send(web, name)
        except (ConnectionError, http.client.HTTPException):
            ends.counts["lost with their worker and sent again"] += 1
    return load.send(web, name)
