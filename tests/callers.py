"""Client processes that call a model over and over while something is done to it; run by `crowd.Child`."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from sharedmodel.client import Host, connect

from .crowd import listen, say


def call_until_told(address: str, name: str, threads: int, answers: list[int]) -> None:
    """``work(n)`` has to be n plus one of ``answers``. Says how many calls were right, and the first error."""
    over = threading.Event()
    with connect(address) as host, ThreadPoolExecutor(threads) as pool:
        callers = [pool.submit(_calls, host, name, answers, over) for _ in range(threads)]
        say("calling")
        listen()
        over.set()
        errors = [repr(error) for caller in callers if (error := caller.exception())]
        say(errors[0] if errors else sum(caller.result() for caller in callers))


def _calls(host: Host, name: str, answers: list[int], over: threading.Event) -> int:
    model, done = host.model(name), 0
    while not over.is_set():
        if done % 5 == 4:
            items = list(model.counts(3))
            assert items in [[answer, answer + 1, answer + 2] for answer in answers], items
        else:
            assert model.work(done) - done in answers
        done += 1
    return done
