"""Memory that was needed once goes back to the machine when it is not needed any more."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

from sharedmodel import segment, service, tidy
from sharedmodel.manager import ModelManager
from sharedmodel.process import resident
from sharedmodel.sessions import SESSIONS

from .crowd import Crowd, session, until

LARGE = 100 << 20


class Echo:
    def echo(self, x: object) -> object:
        return x


class Manager(ModelManager):
    pass


Manager.register("Echo", Echo)


def _shared_memory() -> int:
    stat = os.statvfs(segment.DIRECTORY)
    return (stat.f_blocks - stat.f_bfree) * stat.f_frsize


def _falls_below(limit: int) -> bool:
    end = time.monotonic() + 30
    while _shared_memory() > limit and time.monotonic() < end:
        time.sleep(0.02)
    return _shared_memory() <= limit


def test_room_for_large_arguments_and_results_goes_back_when_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tidy, "EVERY", 0.05)
    monkeypatch.setattr(service, "_HEARTBEAT", 0.05)  # the manager is forked: it has this too
    before = _shared_memory()
    with Manager() as manager:
        echo = manager.Echo()
        assert (echo.echo(np.full(LARGE, 3, "u1")) == 3).all()
        assert _falls_below(before + (8 << 20))
        kept = echo.echo(np.full(LARGE, 5, "u1"))
        assert (echo.echo(np.full(LARGE, 4, "u1")) == 4).all()
        assert _falls_below(before + LARGE + (40 << 20)), "all but what is kept goes back"
        assert (kept == 5).all()
        assert SESSIONS.current(str(manager.address)).alive


def test_what_many_small_values_left_in_the_heap_goes_back_when_idle(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", str(1 << 40))  # by itself malloc gives nothing back
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")  # of a second heap up to 64 MB are not given back
    host = crowd.host()
    with session(host.address) as own:
        before = resident(host.pid)
        for _ in range(2000):
            own.call("probe", "keep", ("x" * 50_000,), {})
        assert resident(host.pid) > before + (90 << 20)
        own.call("probe", "let_go", (), {})
        until(lambda: resident(host.pid) < before + (20 << 20), lambda: resident(host.pid) - before)
