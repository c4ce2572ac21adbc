"""Timers: each has its moment, whatever becomes of the others."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from sharedmodel.timers import Timers

PATIENCE = 200.0


class Clock:
    """The time, and whether the thread of the timers has asked for it: it then holds the lock until it waits."""

    def __init__(self) -> None:
        self._own = threading.current_thread()
        self.asked = threading.Event()

    def __call__(self) -> float:
        if threading.current_thread() is not self._own:
            self.asked.set()
        return time.monotonic()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timers(clock: Clock) -> Iterator[Timers]:
    timers = Timers(clock)
    yield timers
    timers.close()


def come(timers: Timers) -> bool:
    came = threading.Event()
    timers.after(0.0, came.set)
    return came.wait(PATIENCE)


@pytest.mark.parametrize("seconds", [float("inf"), 2 * threading.TIMEOUT_MAX])
def test_one_that_is_too_far_to_be_waited_for_keeps_none_from_coming(
    seconds: float, timers: Timers, clock: Clock
) -> None:
    timers.after(seconds, list)
    assert clock.asked.wait(PATIENCE)
    assert come(timers)


@pytest.mark.parametrize("act", [sys.exit, lambda: 1 / 0])
def test_one_that_fails_keeps_none_from_coming(act: Any, timers: Timers) -> None:
    timers.after(0.0, act)
    assert come(timers)


def test_one_for_which_there_was_no_thread_does_not_come_and_later_ones_do(
    timers: Timers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    never = threading.Event()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="new thread"):
            timers.after(0.0, never.set)
    assert come(timers)
    assert not never.is_set()
