"""A hundred thousand calls of every kind: memory, descriptors and shared memory stay as they were."""

from __future__ import annotations

import gc
import os
import random
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import pytest

from sharedmodel import reply
from sharedmodel.manager import ModelManager
from sharedmodel.sessions import SESSIONS

CALLS = 100_000
WARM = 10_000
THREADS = 4
KEPT = 8  # results that a thread keeps for a while
FLAT = 1.02
SLACK = 1 << 20  # bytes: one smallest segment, or as much in the free lists of malloc's arenas
SIZES = (2_500, 9_000, 40_000, 150_000, 300_000, 500_000)


class Item:
    def __init__(self, payload: Any) -> None:
        self._payload = payload

    def get(self) -> Any:
        return self._payload


class Model:
    def echo(self, value: object) -> object:
        return value

    def total(self, array: np.ndarray) -> int:
        return int(array.sum())

    def filled(self, size: int, value: int) -> np.ndarray:
        out = reply.empty(size, "u1")
        out[:] = value
        return out

    def fail(self, value: object) -> None:
        raise ValueError(value)

    def numbers(self, count: int) -> Iterator[int]:
        yield from range(count)

    def item(self, payload: object) -> object:
        return payload


class Manager(ModelManager):
    pass


Manager.register("Item", Item)
Manager.register("Model", Model, method_to_typeid={"item": "Item"})


class Worker:
    """One thread's calls: a fixed round of all kinds, in an order of its own."""

    def __init__(self, manager: Any, number: int) -> None:
        self._manager = manager
        self._model = manager.Model()
        self._random = random.Random(number)
        self._kept: deque[Any] = deque(maxlen=KEPT)
        kinds = [self.small] * 80 + [self.array] * 6 + [self.in_place] * 3 + [self.keep] * 3
        self._round = [*kinds, *[self.error] * 3, *[self.stream] * 2, self.leave_stream, self.made, self.returned]
        self._inputs = [np.full(size, 1, "u1") for size in SIZES]

    def work(self, calls: int) -> int:
        for _ in range(calls // len(self._round)):
            self._random.shuffle(self._round)
            for kind in self._round:
                kind()
        self._kept.clear()
        return calls // len(self._round) * len(self._round)

    def most(self, together: threading.Barrier) -> None:
        """Have all threads hold at once the most that any of them ever will."""
        session = SESSIONS.current(self._manager.address)
        sizes = [size for size in SIZES for _ in range(2)]
        inputs = [session.empty(size, "u1") for size in sizes]
        results = [self._model.filled(size, 1) for size in SIZES for _ in range(KEPT)]
        together.wait()
        for array in (*inputs, *results):
            array[...] = 0  # its pages are touched
        together.wait()

    def small(self) -> None:
        number = self._random.random()
        assert self._model.echo(number) == number

    def array(self) -> None:
        array = self._random.choice(self._inputs)
        assert self._model.total(array) == array.size

    def in_place(self) -> None:
        size = self._random.choice(SIZES)
        array = SESSIONS.current(self._manager.address).empty(size, "u1")
        assert array is not None
        array[:] = 2
        assert self._model.total(array) == 2 * size

    def keep(self) -> None:
        size, value = self._random.choice(SIZES), self._random.randrange(256)
        self._kept.append((self._model.filled(size, value), value))
        found, value = self._random.choice(self._kept)
        assert found[0] == found[-1] == value

    def error(self) -> None:
        try:
            self._model.fail(array := self._inputs[0])
        except ValueError as exc:
            assert exc.args
        else:
            raise AssertionError(array)

    def stream(self) -> None:
        assert sum(self._model.numbers(20)) == 190

    def leave_stream(self) -> None:
        assert next(self._model.numbers(1000)) == 0

    def made(self) -> None:
        assert self._manager.Item(self._inputs[1]).get().size == SIZES[1]

    def returned(self) -> None:
        assert self._model.item(self._inputs[2]).get().size == SIZES[2]


class Use(NamedTuple):
    """What client and host take at a moment when nothing is under way."""

    client: int
    host: int
    client_descriptors: int
    host_descriptors: int
    shared: int
    objects: int


def _use(manager: Any, pid: int) -> Use:
    gc.collect()
    objects = manager._number_of_objects()
    mine, theirs = (len(os.listdir(f"/proc/{p}/fd")) for p in (os.getpid(), pid))
    return Use(_resident(os.getpid()), _resident(pid), mine, theirs, _shared(pid), objects)


def _resident(pid: int) -> int:
    """Its resident memory but for the segments, which are counted by themselves."""
    with open(f"/proc/{pid}/status") as status:
        sizes = {line.partition(":")[0]: int(line.split()[1]) << 10 for line in status if line.endswith(" kB\n")}
    return sizes["VmRSS"] - sizes["RssShmem"]


def _shared(pid: int) -> int:
    """Bytes of all segments between the two; /dev/shm as a whole is others' too."""
    found = {}
    for process in (os.getpid(), pid):
        for fd in os.listdir(f"/proc/{process}/fd"):
            path = f"/proc/{process}/fd/{fd}"
            try:
                if "sharedmodel" in os.readlink(path):
                    stat = os.stat(path)
                    found[stat.st_dev, stat.st_ino] = stat.st_blocks * 512
            except FileNotFoundError:
                continue
    return sum(found.values())


@pytest.mark.alone  # it weighs two processes, and wants both cores
def test_a_hundred_thousand_mixed_calls_leave_memory_descriptors_and_shared_memory_as_they_were() -> None:
    with Manager() as manager, ThreadPoolExecutor(THREADS) as pool:
        pid = manager._process.pid
        workers = [Worker(manager, number) for number in range(THREADS)]
        together = threading.Barrier(THREADS)

        def work(worker: Worker, calls: int) -> int:
            together.wait()
            return worker.work(calls)

        def all_work(calls: int) -> int:
            return sum(pool.map(work, workers, [calls // THREADS] * THREADS))

        # Random peaks would come later than the warm-up: so the highest comes first.
        assert list(pool.map(Worker.most, workers, [together] * THREADS)) == [None] * THREADS
        assert all_work(WARM) == WARM
        warm = _use(manager, pid)
        assert all_work(CALLS - WARM) == CALLS - WARM
        end = _use(manager, pid)
        grown = [name for name, was, now in zip(Use._fields, warm, end, strict=True) if now > was * FLAT + _slack(name)]
        assert not grown, f"{grown}: {warm} after {WARM} calls, {end} after {CALLS}"


def _slack(name: str) -> int:
    return SLACK if name in ("client", "host", "shared") else 0
