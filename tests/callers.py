"""Client processes that call a model over and over while something is done to it; run by `crowd.Child`."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from sharedmodel.client import Host, connect

from .crowd import PATIENCE, listen, say

LEAST = 20  # calls of each thread


def call_until_told(address: str, name: str, threads: int, answers: list[int]) -> None:
    """``work(n)`` has to be n plus one of ``answers``.

    Says when all threads call, and at the end how many calls were right, or else the first error.
    """
    over, begun = threading.Event(), threading.Barrier(threads + 1)
    with connect(address) as host, ThreadPoolExecutor(threads) as pool:
        callers = [pool.submit(_calls, host, name, answers, over, begun) for _ in range(threads)]
        begun.wait(PATIENCE)
        say("calling")
        listen()
        over.set()
        errors = [repr(error) for caller in callers if (error := caller.exception())]
        say(errors[0] if errors else sum(caller.result() for caller in callers))


def _calls(host: Host, name: str, answers: list[int], over: threading.Event, begun: threading.Barrier) -> int:
    model, done = host.model(name), 0
    while not over.is_set() or done < LEAST:
        if done == 1:
            begun.wait(PATIENCE)
        if done % 5 == 4:
            items = list(model.counts(3))
            assert items in [[answer, answer + 1, answer + 2] for answer in answers], items
        else:
            assert model.work(done) - done in answers
        done += 1
    return done
