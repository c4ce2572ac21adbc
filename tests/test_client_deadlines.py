"""A model's time-out is for all that a call takes: connecting, waiting for a restarted host, sending it again."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sharedmodel.client import AsyncModel, Host, Model, aconnect, connect
from sharedmodel.client.executor.executor import WithTimeout
from sharedmodel.errors import BadArgument, DeadlineExceeded
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


@pytest.mark.parametrize("wrong", [float("nan"), "x", [1], 1j])
def test_a_timeout_that_is_no_number_of_seconds_is_refused_where_it_is_given(wrong: Any) -> None:
    info = {"exposed": ["add"]}
    model, host = Model("/nowhere", "echo", info), Host("/nowhere")
    ways: list[Callable[[], Any]] = [
        lambda: model.with_timeout(wrong),
        lambda: AsyncModel(None, None, "echo", info, None).with_timeout(wrong),  # type: ignore[arg-type]
        lambda: host.model("echo", timeout=wrong),
        lambda: host.model("echo", within=wrong),
        lambda: host.reload("echo", timeout=wrong),
        lambda: connect("/nowhere", timeout=wrong),
        lambda: asyncio.run(aconnect("/nowhere", timeout=wrong)),
        lambda: WithTimeout(None, wrong),  # type: ignore[arg-type]
    ]
    for way in ways:
        with pytest.raises(BadArgument, match="is a number of seconds, or None for no limit, not"):
            way()
    assert [model.with_timeout(right)._timeout for right in (None, 3, np.float32(0.5), -1)] == [None, 3.0, 0.5, -1.0]


def test_a_deadline_that_never_comes_is_none(runtime: str) -> None:
    with running_server(ECHO, runtime) as server:
        echo = connect(server.address, timeout=float("inf")).model("echo", timeout=float("inf"))
        with stopped_host(server):
            answer = in_thread(lambda: echo.add(1, 2))
            until(lambda: SESSIONS.current(server.address).reader.lock.locked())
        assert answer() == 3
