"""A session that asks for more at once than there may be: it is refused what is too much, and keeps the rest."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from sharedmodel import call as calls
from sharedmodel import incoming, workers
from sharedmodel.errors import Overloaded
from sharedmodel.objects import Served
from sharedmodel.service import Service

from .crowd import until
from .inside import PATIENCE, call, error_of, in_thread, session_with

LONG = "x" * (2 << 20)


def test_a_call_too_many_is_refused_and_the_others_go_on(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "MAX_CALLS", 4)
    with session_with(service) as session:
        (peer,) = service.peers.values()
        waiting = [in_thread(lambda: call(session, "wait")) for _ in range(4)]
        until(lambda: len(peer.calls) == 4)
        for method in ("echo", "wait", "stream"):
            refused = error_of(partial(call, session, method, 1))
            assert isinstance(refused, Overloaded) and refused.retry_after > 0
            assert "4 calls of this session are under way" in str(refused)
        assert isinstance(error_of(lambda: call(session, "echo", LONG)), Overloaded)
        service.objects.get("probe").obj.open()
        assert [result() for result in waiting] == ["gate"] * 4
        assert call(session, "echo", LONG) == LONG


def test_a_stream_too_many_is_refused_until_another_has_been_read(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "STREAMS", 2)
    with session_with(service) as session:
        first, second = call(session, "stream", 100), call(session, "stream", 100)
        refused = error_of(lambda: call(session, "stream", 1))
        assert isinstance(refused, Overloaded) and "2 results of this session" in str(refused)
        assert list(first) == list(range(100))
        (peer,) = service.peers.values()
        until(lambda: peer.streams == 1)
        assert list(call(session, "stream", 3)) == [0, 1, 2]
        second.close()
        until(lambda: peer.streams == 0)


def test_streams_that_nobody_reads_hold_up_neither_long_frames_nor_other_streams(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "MOST", 4)
    with session_with(service) as session, session_with(service) as other:
        unread = [call(session, "stream", 1000) for _ in range(8)]
        assert call(other, "echo", LONG) == LONG
        assert list(call(other, "stream", 40)) == list(range(40))
        for stream in unread:
            stream.close()


def test_calls_that_wait_for_a_model_to_load_hold_up_no_others(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "MOST", 4)
    loaded = threading.Event()

    def wait() -> Served:
        assert loaded.wait(PATIENCE)
        return service.objects.get("probe")

    service.objects.announce("late", wait)
    with session_with(service) as session, session_with(service) as other:
        waiting = [in_thread(lambda: call(session, "add", 1, 2, on="late")) for _ in range(8)]
        (peer, _) = service.peers.values()
        until(lambda: len(peer.calls) == 8)
        assert call(other, "echo", LONG) == LONG
        assert list(call(other, "stream", 40)) == list(range(40))
        loaded.set()
        assert [result() for result in waiting] == [3] * 8
