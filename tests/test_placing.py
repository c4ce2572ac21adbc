"""A model that a new configuration gives other hosts is reached by those who have known it before."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from sharedmodel.client import aconnect, connect, placing
from sharedmodel.errors import HostUnavailable, SharedModelError, UnknownObject

from .servers import Server, release, running_server, until

OTHER = '[models.other]\nfactory = "zoo:Echo"\n'
MOVES = [("", "isolate = true"), ("isolate = true", ""), ("isolate = true", "isolate = true\ninstances = 2"),
         ("isolate = true\ninstances = 2", "")]  # fmt: skip


def config(how: str) -> str:
    return f'{OTHER}[models.echo]\nfactory = "zoo:Echo"\n{how}\n'


@pytest.fixture
def server(runtime: str, request: pytest.FixtureRequest) -> Iterator[Server]:
    with running_server(config(request.param), runtime) as started:
        yield started


@pytest.mark.parametrize(("server", "after"), MOVES, indirect=["server"])
def test_calls_go_where_a_model_is_now(server: Server, after: str) -> None:
    host = connect(server.address)
    echo, other = host.model("echo"), host.model("other")
    before = echo.pid()
    server.rewrite(config(after))
    until(lambda: echo.pid() != before, lambda: server.log)  # and no call fails meanwhile
    assert other.pid() == server.host_pid
    assert echo.empty(4).shape == (4,)


@pytest.mark.parametrize(("server", "after"), MOVES, indirect=["server"])
def test_calls_of_tasks_go_where_a_model_is_now(server: Server, after: str) -> None:
    async def main() -> None:
        async with await aconnect(server.address) as host:
            echo = await host.model("echo")
            before = await echo.pid()
            server.rewrite(config(after))
            while await echo.pid() == before:
                pass

    asyncio.run(main())


@pytest.mark.parametrize("server", ["", "isolate = true"], indirect=True)
def test_calls_of_a_model_that_is_configured_no_more_say_so(server: Server) -> None:
    async def task() -> None:
        async with await aconnect(server.address) as host:
            echo = await host.model("echo")
            server.rewrite(OTHER)
            with pytest.raises((UnknownObject, HostUnavailable)):
                while True:
                    await echo.add(1, 2)

    echo = connect(server.address).model("echo")
    asyncio.run(task())
    with pytest.raises((UnknownObject, HostUnavailable)):
        echo.add(1, 2)


@pytest.mark.parametrize("server", ["lanes = 1", "lanes = 1\nisolate = true"], indirect=True)
def test_calls_that_wait_for_a_model_that_is_taken_out_run_in_it_to_their_end(server: Server, runtime: str) -> None:
    pipes = [os.path.join(runtime, f"pipe{number}") for number in range(2)]
    for pipe in pipes:
        os.mkfifo(pipe)
    echo = connect(server.address).model("echo")
    before = echo.pid()
    with ThreadPoolExecutor() as pool:
        calls = [pool.submit(echo.held_by, pipes[0])]
        with open(pipes[0], "w"):  # opens when the call runs
            calls.append(pool.submit(echo.held_by, pipes[1]))
            waiting = lambda: sum(each["waiting"] for each in server.status()["models"].values())  # noqa: E731
            until(lambda: waiting() == 1, lambda: server.log)
            server.rewrite(OTHER)
            until(lambda: "echo" not in server.status()["models"], lambda: server.log)
        release(pipes[1], calls[1])
        assert [call.result() for call in calls] == [before, before]


@pytest.mark.parametrize("server", [""], indirect=True)
def test_an_error_of_the_models_own_is_not_taken_for_its_absence(server: Server) -> None:
    def no_directory(*_: object) -> None:
        raise AssertionError("it was asked")

    error: SharedModelError = UnknownObject("no object 'row' here, says the model")
    assert not placing.may_have_moved("echo", error)
    assert placing.moved(server.address, "echo", error, None) is None
    echo = connect(server.address).model("echo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(placing, "placed", no_directory)
        with pytest.raises(ValueError, match="on purpose"):
            echo.fail("on purpose")


def test_where_the_whole_server_is_gone_nobody_waits_for_its_directory(runtime: str) -> None:
    with running_server(config("isolate = true"), runtime) as server:
        host = connect(server.address)
        echo, other = host.model("echo"), host.model("other")
    for model in (echo, other):
        with pytest.raises(HostUnavailable):
            model.add(1, 2)
