"""How calls and sessions of an event loop end: errors, deadlines, cancelling, the host's death, a full backlog."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sharedmodel import link
from sharedmodel.aio import AsyncSession
from sharedmodel.errors import DeadlineExceeded, HostLost, HostUnavailable
from sharedmodel.objects import Objects
from sharedmodel.service import Service

from .loops import MEGABYTE, PATIENCE, Ask, on_loop


def test_a_models_exception_comes_as_its_own_type_with_the_remote_traceback() -> None:
    async def main(opened: AsyncSession, ask: Ask) -> None:
        answers = await asyncio.gather(*(ask("fail", f"{n} is missing") for n in range(50)), return_exceptions=True)
        assert [type(answer) for answer in answers] == [KeyError] * 50
        assert [answer.args for answer in answers] == [(f"{n} is missing",) for n in range(50)]
        assert "in fail" in str(answers[0].__cause__)
        with pytest.raises(TypeError, match=r"argument 0.*object"):
            await ask("echo", object())

    on_loop(main)


def test_cancelling_a_task_cancels_its_call_in_the_host_and_no_other() -> None:
    async def main(opened: AsyncSession, ask: Ask) -> None:
        task, other = asyncio.ensure_future(ask("hang")), asyncio.ensure_future(ask("hang_deaf"))
        await ask("expect", 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await ask("wait", "cancelled") == [True]
        assert not other.done()
        await ask("set", "go")
        await other

    on_loop(main)


def test_a_deadline_ends_the_wait_tells_the_host_and_the_session_goes_on() -> None:
    async def main(opened: AsyncSession, ask: Ask) -> None:
        with pytest.raises(DeadlineExceeded):
            await ask("hang", timeout=0.05)
        assert await ask("wait", "cancelled") == [True]
        assert await ask("echo", "still here", timeout=PATIENCE) == "still here"

    on_loop(main)


def test_the_deadline_of_a_stream_counts_from_its_call() -> None:
    async def main(opened: AsyncSession, ask: Ask) -> None:
        stream = await ask("numbers_and_hang", 3, timeout=0.3)
        seen = []
        with pytest.raises(DeadlineExceeded):
            async for number in stream:
                seen.append(number)  # noqa: PERF401
        assert seen == [0, 1, 2]
        await ask("wait", "cancelled")

    on_loop(main)


def test_a_deadline_counts_while_a_call_waits_for_room_in_a_host_that_stands_still() -> None:
    async def main(opened: AsyncSession, ask: Ask) -> None:
        pid = await ask("pid")
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(DeadlineExceeded):
                await ask("doubled", np.ones(2 * MEGABYTE, "u1"), timeout=0.1)
            with pytest.raises(DeadlineExceeded):  # behind the one that has asked for room
                await ask("doubled", np.ones(2 * MEGABYTE, "u1"), timeout=0.1)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert (await ask("doubled", np.ones(2 * MEGABYTE, "u1")) == 2).all()

    on_loop(main)


def test_all_waiting_tasks_get_host_lost_at_once_when_the_host_is_killed() -> None:
    async def main(opened: AsyncSession, ask: Ask) -> None:
        pid = await ask("pid")
        tasks = [asyncio.ensure_future(ask("hang_deaf")) for _ in range(100)]
        await ask("expect", 100)
        stream = await ask("numbers", 1_000_000)
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(2):
            answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(answer) for answer in answers} == {HostLost}
        with pytest.raises(HostLost):
            async for _ in stream:
                pass
        assert not opened.alive
        with pytest.raises(HostLost) as caught:
            await ask("echo", 1)
        assert not caught.value.begun

    on_loop(main)


def test_a_call_that_waits_for_room_ends_when_the_host_is_killed() -> None:
    async def main(opened: AsyncSession, ask: Ask) -> None:
        pid = await ask("pid")
        os.kill(pid, signal.SIGSTOP)
        tasks = [asyncio.ensure_future(ask("doubled", np.ones(MEGABYTE))) for _ in range(3)]
        await asyncio.sleep(0)  # all of them have asked, or wait for the one that has
        os.kill(pid, signal.SIGKILL)
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(answer) for answer in answers] == [HostLost] * 3
        assert not any(answer.begun for answer in answers)

    on_loop(main)


def test_closing_the_session_ends_the_calls_that_wait() -> None:
    async def main(opened: AsyncSession, ask: Ask) -> None:
        task = asyncio.ensure_future(ask("hang"))
        await ask("expect", 1)
        opened.close()
        opened.close()
        with pytest.raises(HostLost, match="closed"):
            await task

    on_loop(main)


def test_nobody_at_the_address_is_an_error_at_once(runtime: str) -> None:
    with pytest.raises(HostUnavailable, match="nobody listens"):
        asyncio.run(AsyncSession.open(os.path.join(runtime, "none.sock")))


class FullBacklog:
    """A listener that takes no more connections until `serve` accepts."""

    def __init__(self, directory: str) -> None:
        self.address = str(Path(directory, "full.sock"))
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.address)
        self.listener.listen(1)
        self.waiting: list[socket.socket] = []
        while (sock := link.try_connect(self.address)) is not None:
            self.waiting.append(sock)

    def close(self) -> None:
        self.listener.close()
        for sock in self.waiting:
            sock.close()


def _serve(listener: socket.socket) -> None:
    Service(listener, Objects()).serve_forever()


def test_a_full_backlog_is_tried_again_until_the_host_accepts(runtime: str, monkeypatch: pytest.MonkeyPatch) -> None:
    full = FullBacklog(runtime)
    refused: list[Any] = []

    async def main() -> None:
        thrice = asyncio.Event()

        def try_connect(address: str, connect: Any = link.try_connect) -> socket.socket | None:
            sock: socket.socket | None = connect(address)
            if sock is None:
                refused.append(address)
                if len(refused) == 3:
                    thrice.set()
            return sock

        monkeypatch.setattr(link, "try_connect", try_connect)
        opening = [asyncio.ensure_future(AsyncSession.open(full.address, timeout=PATIENCE)) for _ in range(5)]
        await thrice.wait()
        assert not any(one.done() for one in opening)
        host = get_context("spawn").Process(target=_serve, args=(full.listener,))
        host.start()
        try:
            for opened in await asyncio.gather(*opening):
                assert await opened.control("number_of_objects") == 0
                opened.close()
        finally:
            host.kill()
            host.join()
            host.close()

    try:
        asyncio.run(main())
    finally:
        full.close()


def test_a_backlog_that_stays_full_is_given_up_after_the_time_that_was_allowed(runtime: str) -> None:
    full = FullBacklog(runtime)
    try:
        with pytest.raises(HostUnavailable, match="did not answer within"):
            asyncio.run(AsyncSession.open(full.address, timeout=0.1))
    finally:
        full.close()
