"""A client that calls without end and checks every answer: ``python -m scripts.chaos.client ADDRESS RECORD N SEED``.

Even ones call from two threads, odd ones from two tasks of an event loop. Ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import random
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator
from typing import Any, Final

import numpy as np

from sharedmodel.client import aconnect, connect

from .record import FAILED, LANES, MODELS, WRONG, Record

SIZES: Final = (16, 25_000, 1_000_000)  # elements of 4 bytes: in the frame, 100 KB, 4 MB
ODDS: Final = (6, 3, 1)
METHODS: Final = ("times", "laid", "total")
DEADLINE: Final = 120.0  # seconds; one that it ends is a failed call
KEPT: Final = 3

# What a lane wants: a model's number, a method, its arguments; it is given the result, or the error.
Wish = tuple[int, str, tuple[Any, ...]]


class Lane:
    """What one thread or task calls, and what must come back."""

    def __init__(self, record: Record, client: int, lane: int, seed: int, empty: Callable[[int], Any]) -> None:
        self._row = record.lane(client, lane)
        self._random = random.Random(f"{seed} {client} {lane} {os.getpid()}")
        self._empty = empty
        self._plain = [np.arange(size, dtype="i4") for size in SIZES]
        self._kept: deque[tuple[Any, int, int]] = deque(maxlen=KEPT)

    def wishes(self) -> Generator[Wish, tuple[Any, BaseException | None], None]:
        """Call after call: yields what to call, is sent the result and the error."""
        while True:
            model, method = self._random.randrange(len(MODELS)), self._random.choice(METHODS)
            size = self._random.choices(range(len(SIZES)), ODDS)[0]
            factor, plus = self._random.randrange(1, 1000), self._random.randrange(1000)
            array = self._input(size, plus)
            self._row.begin()
            result, error = yield model, method, (array,) if method == "total" else (array, factor)
            if error is not None:
                print(f"FAILED {MODELS[model]}.{method}: {error!r}", file=sys.stderr)
                traceback.print_exception(error)
                self._row.end(model, None, FAILED)
                continue
            pid, fine = self._check(method, result, size, factor, plus)
            self._row.end(model, pid, None if fine else WRONG)

    def _input(self, size: int, plus: int) -> Any:
        if self._random.random() < 0.5:
            return self._plain[size] + np.int32(plus)
        array = self._empty(SIZES[size])  # shared memory of a session that may die before it is sent
        np.add(self._plain[size], plus, out=array)
        return array

    def _check(self, method: str, result: Any, size: int, factor: int, plus: int) -> tuple[int | None, bool]:
        if method == "total":
            return result[0], result[1] == int(self._plain[size].sum(dtype="i8")) + plus * SIZES[size]
        pid, array = result if method == "times" else (None, result)
        fine = self._is(array, size, factor, plus)
        self._kept.append((array, factor, plus))
        old, factor, plus = self._random.choice(self._kept)  # results outlive the host that gave them
        return pid, fine and self._is(old, SIZES.index(len(old)), factor, plus)

    def _is(self, array: Any, size: int, factor: int, plus: int) -> bool:
        right = np.array_equal(array, (self._plain[size] + np.int32(plus)) * np.int32(factor))
        if not right:
            print(f"WRONG {array!r} is not (0 … {SIZES[size]} + {plus}) * {factor}", file=sys.stderr)
        return right


def threads(address: str, record: Record, number: int, seed: int, over: threading.Event) -> None:
    """Call from threads until it is over."""

    def work(lane: int) -> None:
        host = connect(address)
        models = [host.model(name, timeout=DEADLINE) for name in MODELS]
        wishes = Lane(record, number, lane, seed, lambda size: host.empty(size, "i4")).wishes()
        model, method, args = next(wishes)
        while not over.is_set():
            result, error = None, None
            try:
                result = getattr(models[model], method)(*args)
            except Exception as exc:
                error = exc
            model, method, args = wishes.send((result, error))

    workers = [threading.Thread(target=work, args=(lane,)) for lane in range(LANES)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


async def tasks(address: str, record: Record, number: int, seed: int, over: threading.Event) -> None:
    """Call from tasks until it is over."""

    async def work(host: Any, models: list[Any], lane: int) -> None:
        wishes = Lane(record, number, lane, seed, lambda size: np.empty(size, "i4")).wishes()
        model, method, args = next(wishes)
        while not over.is_set():
            result, error = None, None
            try:
                result = await getattr(models[model], method)(*args)
            except Exception as exc:
                error = exc
            model, method, args = wishes.send((result, error))

    async with await aconnect(address) as host:
        models = [await host.model(name, timeout=DEADLINE) for name in MODELS]
        await asyncio.gather(*(work(host, models, lane) for lane in range(LANES)))


def main() -> None:
    """Until standard input ends."""
    address, path, number, seed = sys.argv[1:]
    faulthandler.register(signal.SIGUSR1)
    over = threading.Event()

    def watch() -> None:
        sys.stdin.read()
        over.set()

    threading.Thread(target=watch, daemon=True).start()
    record = Record(path)
    if int(number) % 2:
        asyncio.run(tasks(address, record, int(number), int(seed), over))
    else:
        threads(address, record, int(number), int(seed), over)


if __name__ == "__main__":
    main()
