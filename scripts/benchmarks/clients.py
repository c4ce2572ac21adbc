"""Eight processes that call at once, small tensors there and back."""

from __future__ import annotations

import multiprocessing as mp
import time
from typing import Any

import numpy as np

from .clock import ratio
from .served import KEY, Ours, Theirs
from .table import Row

CLIENTS = 8
CALLS = 3000
ROUNDS = 7


def run() -> list[Row]:
    """The row of the table."""
    rates: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(ROUNDS):
        rates["ours"].append(_rate(Ours))
        rates["theirs"].append(_rate(Theirs))
    over = ratio(rates["ours"], rates["theirs"])
    middle = {name: f"{sorted(values)[len(values) // 2]:,.0f}" for name, values in rates.items()}
    text = f"{middle['ours']} calls/s against {middle['theirs']}, ratio {over}"
    return [Row(f"{CLIENTS} clients at once, 128 bytes each way", "at least 2x BaseManager's", text, over.median >= 2)]


def _rate(kind: Any) -> float:
    manager = kind(authkey=KEY)
    manager.start()
    ready, go, done = mp.Semaphore(0), mp.Event(), mp.Semaphore(0)
    args = (kind, manager.address, ready, go, done)
    processes = [mp.Process(target=_client, args=args) for _ in range(CLIENTS)]
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
    manager.shutdown()
    return CLIENTS * CALLS / took


def _client(kind: Any, address: Any, ready: Any, go: Any, done: Any) -> None:
    mp.current_process().authkey = KEY
    manager = kind(address=address, authkey=KEY)
    manager.connect()
    subject, small = manager.Subject(), np.zeros(16)
    for _ in range(300):
        subject.echo(small)
    ready.release()
    go.wait()
    for _ in range(CALLS):
        subject.echo(small)
    done.release()
