"""Eight processes that call at once, small tensors there and back."""

from __future__ import annotations

import multiprocessing as mp
import socket
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from . import bare
from .clock import ratio
from .served import KEY, Ours, Theirs
from .table import Row

CLIENTS = 8
CALLS = 3000
ROUNDS = 7


def run() -> list[Row]:
    """The row of the table."""
    rates: dict[str, list[float]] = {"ours": [], "theirs": [], "bare": []}
    for _ in range(ROUNDS):
        rates["ours"].append(_rate(Ours))
        rates["theirs"].append(_rate(Theirs))
        with bare.echo() as path:
            rates["bare"].append(_together(_echoes, path))
    over = ratio(rates["ours"], rates["theirs"])
    middle = {name: f"{sorted(values)[len(values) // 2]:,.0f}" for name, values in rates.items()}
    floor = f"{sorted(rates['bare'])[ROUNDS // 2]:,.0f}"
    text = f"{middle['ours']} calls/s against {middle['theirs']}, ratio {over}; an echo without any codec: {floor}"
    return [Row(f"{CLIENTS} clients at once, 128 bytes each way", "at least 2x BaseManager's", text, over.median >= 2)]


def _rate(kind: Any) -> float:
    manager = kind(authkey=KEY)
    manager.start()
    rate = _together(_client, kind, manager.address)
    manager.shutdown()
    return rate


def _together(target: Any, *args: Any) -> float:
    """Calls a second of all the clients."""
    ready, go, done = mp.Semaphore(0), mp.Event(), mp.Semaphore(0)
    processes = [mp.Process(target=target, args=(*args, ready, go, done)) for _ in range(CLIENTS)]
    for process in processes:
        process.start()
    for _ in processes:
        ready.acquire()
    start = time.perf_counter()
    go.set()
    for _ in processes:
        done.acquire()
    took = time.perf_counter() - start
    for process in processes:
        process.join()
    return CLIENTS * CALLS / took


def _client(kind: Any, address: Any, ready: Any, go: Any, done: Any) -> None:
    mp.current_process().authkey = KEY
    manager = kind(address=address, authkey=KEY)
    manager.connect()
    subject, small = manager.Subject(), np.zeros(16)
    _calls(lambda: subject.echo(small), ready, go, done)


def _echoes(path: str, ready: Any, go: Any, done: Any) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        _calls(lambda: (sock.send(bytes(200)), sock.recv(65536)), ready, go, done)


def _calls(call: Callable[[], Any], ready: Any, go: Any, done: Any) -> None:
    for _ in range(300):
        call()
    ready.release()
    go.wait()
    for _ in range(CALLS):
        call()
    done.release()
