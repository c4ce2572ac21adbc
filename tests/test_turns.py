"""Threads that share a session take turns at reading: whoever leaves wakes the next."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from sharedmodel import wire
from sharedmodel.errors import DeadlineExceeded
from sharedmodel.session import Session

from .crowd import until
from .fake_host import FakeHost, fake_host


class Callers:
    """Threads that call one after another, so that who reads and who waits is known."""

    def __init__(self, session: Session, host: FakeHost, pool: ThreadPoolExecutor) -> None:
        self._session, self._host, self._pool = session, host, pool
        self.rids: list[int] = []

    def call(self, timeout: float | None = None) -> Future[Any]:
        waiting = len(self._session.reader.followers)
        future = self._pool.submit(self._session.call, "x", f"call {len(self.rids)}", (), {}, timeout)
        self.rids.append(self._host.receive()[1])
        if len(self.rids) == 1:
            until(self._session.reader.lock.locked)
        else:
            until(lambda: len(self._session.reader.followers) > waiting)
        return future


def test_the_turn_is_not_given_to_a_thread_whose_reply_has_come_already(runtime: str) -> None:
    with fake_host(runtime) as host, ThreadPoolExecutor() as pool:
        session = Session(host.address)
        callers = Callers(session, host, pool)
        first, second, third = callers.call(), callers.call(), callers.call()
        a, b, c = callers.rids
        host.send([wire.REPLY, b, "b"], [wire.REPLY, a, "a"])
        assert (first.result(5), second.result(5)) == ("a", "b")
        host.send([wire.REPLY, c, "c"])
        try:
            assert third.result(5) == "c"
        finally:
            session.close()


@pytest.mark.parametrize("attempt", range(3))
def test_a_thread_whose_time_is_up_leaves_its_turn_to_the_next(runtime: str, attempt: int) -> None:
    with fake_host(runtime) as host, ThreadPoolExecutor() as pool:
        session = Session(host.address)
        callers = Callers(session, host, pool)
        first, late, third = callers.call(), callers.call(timeout=0.2 + attempt / 100), callers.call()
        gate = next(iter(session.reader.followers)).gate
        assert gate is not None
        # The reader leaves in the very moment in which the next one's time is up.
        woken = threading.Event()
        waiter = session.reader.followers[0]
        waiter.wake = woken.set  # type: ignore[method-assign]
        host.send([wire.REPLY, callers.rids[0], "a"])
        assert first.result(5) == "a"
        assert woken.wait(5)
        with pytest.raises(DeadlineExceeded):
            late.result(5)
        host.send([wire.REPLY, callers.rids[2], "c"])
        try:
            assert third.result(5) == "c"
        finally:
            session.close()


def test_a_thousand_short_waits_among_long_ones_leave_nobody_behind(runtime: str) -> None:
    """The replies come in the worst order, many in one piece, and none of the callers sleeps for ever."""
    with fake_host(runtime) as host, ThreadPoolExecutor(12) as pool:
        session = Session(host.address)
        for _ in range(80):
            futures = [pool.submit(session.call, "x", "y", (), {}) for _ in range(12)]
            rids = [host.receive()[1] for _ in futures]
            for piece in (rids[6:], rids[3:6], rids[:3]):
                host.send(*([wire.REPLY, rid, rid] for rid in reversed(piece)))
                pool_done = [future for future in futures if future.done()]
                assert len(pool_done) <= 12
            try:
                assert sorted(future.result(5) for future in futures) == sorted(rids)
            except TimeoutError:
                session.close()
                raise
        session.close()
