"""A model's time-out is for all that a call takes: connecting, waiting for a restarted host, sending it again."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sharedmodel.client import aconnect, connect
from sharedmodel.errors import DeadlineExceeded
from sharedmodel.sessions import SESSIONS

from .crowd import until
from .inside import in_thread
from .servers import ECHO, Server, running_server

TIMEOUT, AT_MOST = 0.4, 3.0


@contextmanager
def stopped_host(server: Server) -> Iterator[None]:
    """While the host stands still; it is made to go on."""
    pid = server.host_pid
    os.kill(pid, signal.SIGSTOP)
    until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("connected", [True, False])
def test_a_call_ends_in_time_whether_it_has_a_session_or_not(runtime: str, connected: bool) -> None:
    with running_server(ECHO, runtime) as server:
        echo = connect(server.address).model("echo", timeout=TIMEOUT)
        if not connected:
            SESSIONS.close(server.address)
        with stopped_host(server):
            start = time.monotonic()
            with pytest.raises(DeadlineExceeded):
                echo.add(1, 2)
            assert TIMEOUT <= time.monotonic() - start < AT_MOST
        assert echo.with_timeout(20).add(1, 2) == 3


@pytest.mark.parametrize("connected", [True, False])
def test_a_call_on_an_event_loop_ends_in_time_too(runtime: str, connected: bool) -> None:
    async def calls(server: Server) -> None:
        async with await aconnect(server.address) as host:
            echo = await host.model("echo", timeout=TIMEOUT)
            if not connected:
                (await host.session()).close()
            with stopped_host(server):
                start = time.monotonic()
                with pytest.raises(DeadlineExceeded):
                    await echo.add(1, 2)
                assert TIMEOUT <= time.monotonic() - start < AT_MOST
            assert await echo.with_timeout(20).add(1, 2) == 3

    with running_server(ECHO, runtime) as server:
        asyncio.run(calls(server))


def test_a_deadline_that_never_comes_is_none(runtime: str) -> None:
    with running_server(ECHO, runtime) as server:
        echo = connect(server.address, timeout=float("inf")).model("echo", timeout=float("inf"))
        with stopped_host(server):
            answer = in_thread(lambda: echo.add(1, 2))
            until(lambda: SESSIONS.current(server.address).reader.lock.locked())
        assert answer() == 3
