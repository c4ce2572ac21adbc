"""Room for arguments: asked for when it is needed, done without when it is refused."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from sharedmodel import segment
from sharedmodel.service import Service
from sharedmodel.sessions import SESSIONS

from .crowd import Crowd, probe, session
from .inside import call, session_with


def test_several_arrays_that_get_no_room_go_in_the_frame(crowd: Crowd) -> None:
    host = crowd.host(request_bytes=2 << 20)
    arrays = [np.full(700_000, number, "u1") for number in range(6)]
    with session(host.address) as own:
        for _ in range(3):
            back = own.call("probe", "echo", (arrays,), {}, 20)
            assert all((a == b).all() for a, b in zip(arrays, back, strict=True))
        assert own.empty(5_000_000, "u1") is None
        assert own.empty(100_000, "u1") is not None


def test_threads_that_get_no_room_at_the_same_time_all_go_on(crowd: Crowd) -> None:
    host = crowd.host(request_bytes=4 << 20)
    target = probe(host.address, timeout=60)
    arrays = [np.full(900_000 + number, number, "u1") for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            totals = list(pool.map(target.total, arrays))
            assert totals == [int(a.sum()) for a in arrays]


@pytest.mark.parametrize("kind", ["shm", "memfd"])
def test_room_grows_with_what_is_asked_for_and_not_with_how_often(kind: str, crowd: Crowd) -> None:
    host = crowd.host(kind=kind)
    target = probe(host.address)
    for nbytes in (10, 3_000, 100_000, 1_000_000, 30_000_000):
        for _ in range(20):
            assert target.total(np.ones(nbytes, "u1")) == nbytes
    (mine,) = SESSIONS.current(host.address).control("status")["sessions"]
    assert mine["requests"] < 80_000_000


def test_a_full_dev_shm_is_told_once_and_memory_files_take_its_place(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(size: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(segment, "_posix_fd", full)
    with session_with(service) as one, session_with(service) as other:
        for each in (one, other):
            assert call(each, "echo", np.ones(1_000_000, "u1")).sum() == 1_000_000
    (told,) = [line for line in caplog.messages if "/dev/shm" in line]
    assert "memory files take its place" in told
