"""What client processes do in tests of many clients; each function is run by `crowd.Child`."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from sharedmodel.session import Session

from .crowd import listen, say


def sessions(address: str, count: int, rounds: int) -> None:
    """Many sessions of one process, all calling at once; says how many calls went as they should."""

    def opened(number: int) -> Session:
        return Session(address, timeout=30)

    def calls(number: int) -> int:
        own, right = open_ones[number], 0
        array = np.full(50_000 + number, number % 200, "u1")
        for turn in range(rounds):
            right += own.call("probe", "add", (number, turn), {}, 60) == number + turn
            right += own.call("probe", "total", (array,), {}, 60) == int(array.sum())
            right += bool((own.call("probe", "filled", (60_000 + number, number % 200), {}, 60) == number % 200).all())
        return right

    with ThreadPoolExecutor(count) as pool:
        open_ones = list(pool.map(opened, range(count)))
        say("connected")
        listen()
        say(sum(pool.map(calls, range(count))))
    listen()
    for own in open_ones:
        own.close()


def counts(address: str, seconds: float) -> None:
    """Calls for some seconds; says how many calls were answered and how long the longest took."""
    own = Session(address)
    own.call("probe", "echo", (), {})
    say("ready")
    listen()
    done, longest, end = 0, 0.0, time.monotonic() + seconds
    while (start := time.monotonic()) < end:
        own.call("probe", "spin", (0.001,), {})
        done, longest = done + 1, max(longest, time.monotonic() - start)
    say(f"{done} {longest}")


def floods(address: str, threads: int) -> None:
    """Keeps many slow calls going until it is killed; says when all its threads have begun."""
    own = Session(address)

    def calls(_: int) -> None:
        own.call("probe", "spin", (0.002,), {})
        going.wait()
        while True:
            own.call("probe", "spin", (0.002,), {})

    going = threading.Barrier(threads, lambda: say("floods"))
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(calls, range(threads)))
