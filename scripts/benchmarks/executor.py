"""The task executor against `concurrent.futures.ProcessPoolExecutor`, both with spawned workers; and under kills."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from sharedmodel.client import TaskExecutor
from sharedmodel.errors import SharedModelError

from .clock import in_turn, micro, ratio
from .served import array
from .table import Row

WORKERS = 2
NBYTES = 16 << 20
MANY = 200
ROUNDS = 9
TASKS = 1000
KILLS = 100

Calls = dict[str, Callable[[], Any]]


def run() -> list[Row]:
    """The rows of the table."""
    with TaskExecutor(WORKERS) as ours, ProcessPoolExecutor(WORKERS, get_context("spawn")) as theirs:
        rows = [_transfer(ours, theirs), *_empty(ours, theirs)]
    return [*rows, _killed()]


def echo(value: Any) -> Any:
    return value


def nothing() -> None:
    """The empty task."""


def _transfer(ours: Executor, theirs: Executor) -> Row:
    given = array(NBYTES)
    calls: Calls = {"ours": partial(_one, ours, given), "theirs": partial(_one, theirs, given)}
    taken = in_turn(calls, rounds=ROUNDS, count={"ours": 12, "theirs": 3})
    faster = ratio(taken["theirs"], taken["ours"])
    text = f"{micro(taken['ours'])} µs against {micro(taken['theirs'])} µs, {faster}x"
    return Row("16 MB in and out", "at least 20x as fast", text, faster.median >= 20)


def _one(pool: Executor, given: Any) -> None:
    assert pool.submit(echo, given).result().nbytes == NBYTES


def _empty(ours: Executor, theirs: Executor) -> list[Row]:
    return [
        _against(f"{MANY} empty tasks at once, each", _many, ours, theirs, count=4, share=MANY),
        _against("an empty task, there and back", _alone, ours, theirs, count=200, share=1),
    ]


def _against(
    what: str, task: Callable[[Executor], None], ours: Executor, theirs: Executor, *, count: int, share: int
) -> Row:
    calls: Calls = {"ours": partial(task, ours), "theirs": partial(task, theirs)}
    taken = in_turn(calls, rounds=ROUNDS, count=dict.fromkeys(calls, count))
    cost = ratio(taken["ours"], taken["theirs"])
    each = {name: [seconds / share for seconds in times] for name, times in taken.items()}
    text = f"{micro(each['ours'])} µs against {micro(each['theirs'])} µs, {cost}x"
    return Row(what, "at most 1.5x the cost", text, cost.median <= 1.5)


def _many(pool: Executor) -> None:
    for future in [pool.submit(nothing) for _ in range(MANY)]:
        future.result()


def _alone(pool: Executor) -> None:
    pool.submit(nothing).result()


def busy(value: Any, seconds: float) -> Any:
    """A task that takes a while, so that kills find one."""
    time.sleep(seconds)
    return value + 1


def _killed() -> Row:
    """Tasks while workers are killed at random moments: how each ended."""
    given = np.arange(100_000)
    chance = random.Random(7)
    over = threading.Event()
    kills = [0]
    with TaskExecutor(WORKERS) as pool:
        futures = [pool.submit(busy, given, chance.uniform(0, 0.05)) for _ in range(TASKS)]
        killer = threading.Thread(target=_kill, args=(chance, kills, over))
        killer.start()
        right = lost = wrong = 0
        for future in futures:
            try:
                fine = bool((future.result() == given + 1).all())
                right, wrong = right + fine, wrong + (not fine)
            except SharedModelError as exc:
                lost, wrong = lost + ("SIGKILL" in str(exc)), wrong + ("SIGKILL" not in str(exc))
        over.set()
        killer.join()
    left = len(_workers())
    text = f"{right} right, {lost} failed with the reason, {wrong} wrong; {kills[0]} kills; {left} workers left behind"
    reached = not wrong and not left and kills[0] >= KILLS
    return Row(f"{TASKS} tasks, {KILLS} kills of workers", "all end, nothing is left", text, reached)


def _kill(chance: random.Random, kills: list[int], over: threading.Event) -> None:
    while not over.wait(chance.uniform(0, 0.2)) and kills[0] < KILLS:
        if workers := _workers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.choice(workers), signal.SIGKILL)
                kills[0] += 1


def _workers() -> list[int]:
    """Our children that run tasks."""
    return [int(pid) for task in os.listdir("/proc/self/task") for pid in _children(task) if _is_worker(pid)]


def _children(task: str) -> list[str]:
    try:
        return Path(f"/proc/self/task/{task}/children").read_text().split()
    except OSError:  # the thread has just ended
        return []


def _is_worker(pid: str) -> bool:
    try:
        return b"client.executor.child" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # the process has
        return False
