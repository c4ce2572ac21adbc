"""Generators: their items in order, no further ahead than the reader lets them, and their end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from sharedmodel.call import WINDOW
from sharedmodel.client import aconnect, connect
from sharedmodel.errors import DeadlineExceeded, HostLost, Stuck
from sharedmodel.manager import ModelManager
from sharedmodel.service import Service
from sharedmodel.session import Session
from sharedmodel.sessions import SESSIONS
from sharedmodel.stream import CREDIT

from .crowd import Crowd, listen, probe, say, session, until
from .inside import session_with
from .servers import Server, running_server

ENDLESS = 1 << 30


class Source:
    """Makes items and notes how far it has come and how it ended."""

    def __init__(self) -> None:
        self._made = 0
        self._ended: list[str] = []
        self._gate = threading.Event()

    def items(self, count: int, nbytes: int = 0, fail_at: int = -1) -> Iterator[Any]:
        self._made = 0
        try:
            for number in range(count):
                if number == fail_at:
                    raise LookupError(f"at {number}")
                self._made += 1
                yield np.full(nbytes, number % 251, "u1") if nbytes else number
            self._ended.append("exhausted")
        finally:
            self._ended.append("finally")

    def uncrossable(self) -> Iterator[Any]:
        yield 1
        yield {"x": [object()]}

    def gated(self) -> Iterator[int]:
        yield 1
        self._gate.wait()
        yield 2

    def open(self) -> None:
        self._gate.set()

    def made(self) -> int:
        return self._made

    def ended(self) -> list[str]:
        return self._ended


class Manager(ModelManager):
    pass


Manager.register("Source", Source)


@contextlib.contextmanager
def serving(**options: Any) -> Iterator[tuple[Any, Session]]:
    with Manager() as manager:
        address = str(manager.address)
        SESSIONS.close(address)
        SESSIONS.remember(address, **options)
        yield manager.Source(), SESSIONS.current(address)  # type: ignore[attr-defined]


@pytest.mark.parametrize("shared_memory", [True, False])
@pytest.mark.parametrize("nbytes", [0, 1, 5_000, 400_000])
def test_items_come_in_order_and_stay(nbytes: int, shared_memory: bool) -> None:
    with serving(shared_memory=shared_memory) as (source, _):
        items = list(source.items(200, nbytes))
        if nbytes:
            assert all((item == number % 251).all() and item.size == nbytes for number, item in enumerate(items))
        else:
            assert items == list(range(200))
        until(lambda: source.ended() == ["exhausted", "finally"])


def test_an_empty_stream_has_no_items() -> None:
    with serving() as (source, _):
        assert list(source.items(0)) == []
        assert next(source.items(0), "nothing") == "nothing"


@pytest.mark.parametrize("nbytes", [0, 300_000])
def test_a_slow_reader_bounds_how_far_the_generator_has_run(nbytes: int) -> None:
    with serving() as (source, _):
        with source.items(ENDLESS, nbytes) as stream:
            for taken in range(1, 101):
                next(stream)
                allowed = taken - taken % CREDIT + WINDOW + 1
                assert source.made() <= allowed
            until(lambda: source.made() == allowed)
            assert max(source.made() for _ in range(300)) == allowed
        until(lambda: source.ended() == ["finally"])


def test_a_reader_that_takes_nothing_stops_the_generator_and_nobody_else() -> None:
    with serving() as (source, _):
        streams = [source.items(ENDLESS) for _ in range(20)]
        until(lambda: source.made() > WINDOW)
        assert list(source.items(50)) == list(range(50))
        del streams
        until(lambda: source.ended().count("finally") == 21, source.ended)


@pytest.mark.parametrize("how", ["close", "with", "dropped", "dropped before its first item"])
def test_a_stream_that_is_closed_early_ends_its_generator(how: str) -> None:
    with serving() as (source, own):
        stream = source.items(ENDLESS)
        if how != "dropped before its first item":
            assert [next(stream) for _ in range(5)] == list(range(5))
        if how == "close":
            stream.close()
            stream.close()
            assert list(stream) == []
        elif how == "with":
            with stream:
                next(stream)
            assert list(stream) == []
        del stream
        # Its last answer comes after that, and is read by whichever call comes next.
        until(lambda: source.ended() == ["finally"] and not own.channel.pending, source.ended)
        assert list(source.items(3)) == [0, 1, 2]


def test_an_exception_in_mid_stream_comes_after_the_items_before_it() -> None:
    with serving() as (source, _):
        stream = source.items(100, 0, 30)
        assert [next(stream) for _ in range(30)] == list(range(30))
        with pytest.raises(LookupError, match="at 30") as caught:
            next(stream)
        assert "in items" in str(caught.value.__cause__)
        assert list(stream) == []
        stream = source.items(100, 0, 0)
        with pytest.raises(LookupError, match="at 0"):
            next(stream)
        assert source.ended() == ["finally"] * 2


def test_an_item_that_does_not_cross_ends_the_stream_with_an_error_that_names_it() -> None:
    with serving() as (source, _):
        stream = source.uncrossable()
        assert next(stream) == 1
        with pytest.raises(TypeError, match=r"uncrossable\(\)\['x'\]\[0\]"):
            next(stream)


def test_streams_of_one_session_run_beside_one_another() -> None:
    with serving() as (source, _):
        streams = [source.items(60, nbytes) for nbytes in (0, 1000, 300_000)]
        for number, (plain, small, large) in enumerate(zip(*streams, strict=True)):
            assert plain == number
            assert (small == number).all() and small.size == 1000
            assert (large == number).all() and large.size == 300_000


def test_a_deadline_holds_for_the_whole_stream() -> None:
    with serving() as (source, own):
        stream = own.call(source._id, "gated", (), {}, 0.2)
        assert next(stream) == 1
        with pytest.raises(DeadlineExceeded):
            next(stream)
        source.open()
        until(lambda: source.made() == 0 and not own.channel.pending)


def test_a_stream_whose_host_is_killed_ends_with_that_error() -> None:
    with Manager() as manager:
        stream = manager.Source().items(ENDLESS)  # type: ignore[attr-defined]
        assert next(stream) == 0
        os.kill(manager._process.pid, signal.SIGKILL)
        with pytest.raises(HostLost):
            for _ in stream:
                pass


STREAMING = '[models.echo]\nfactory = "zoo:Echo"\nidempotent = ["count"]\n'


def killed_and_read(runtime: str, server: Server, stream: Future[list[int]]) -> list[int]:
    """What comes of a stream whose host is killed before its first item, while its method runs."""
    pipe = f"{runtime}/pipe"
    with open(pipe, "w"):  # the method has opened it as well
        server.kill_host()
    with open(pipe, "w") as again:
        again.write("now")
    return stream.result(30)


def test_a_stream_whose_host_is_killed_before_its_first_item_begins_again_if_its_method_may(runtime: str) -> None:
    os.mkfifo(f"{runtime}/pipe")
    with running_server(STREAMING, runtime) as server, ThreadPoolExecutor() as pool:
        echo = connect(server.address).model("echo")
        for count in (0, 3):
            stream = pool.submit(lambda count=count: list(echo.count(f"{runtime}/pipe", count)))  # type: ignore[misc]
            assert killed_and_read(runtime, server, stream) == list(range(count))


def test_so_does_one_of_a_task(runtime: str) -> None:
    async def read(address: str) -> list[int]:
        async with await aconnect(address) as host:
            return [item async for item in await (await host.model("echo")).count(f"{runtime}/pipe", 3)]

    os.mkfifo(f"{runtime}/pipe")
    with running_server(STREAMING, runtime) as server, ThreadPoolExecutor() as pool:
        stream = pool.submit(lambda: asyncio.run(read(server.address)))
        assert killed_and_read(runtime, server, stream) == [0, 1, 2]


def test_one_of_which_an_item_was_taken_ends_with_the_loss(runtime: str) -> None:
    os.mkfifo(f"{runtime}/pipe")
    with running_server(STREAMING, runtime) as server:
        echo = connect(server.address).model("echo")
        stream = echo.count(f"{runtime}/pipe", ENDLESS)
        with open(f"{runtime}/pipe", "w"):
            pass
        assert next(stream) == 0
        server.kill_host()
        with pytest.raises(HostLost):
            for _ in stream:
                pass
        with pytest.raises(StopIteration):
            next(stream)


def reader(address: str) -> None:
    """Takes one item of a stream and waits to be killed."""
    stream = probe(address).stream(ENDLESS, 300_000)
    next(stream)
    say("reads")
    listen()


def test_the_death_of_its_reader_ends_a_generator(crowd: Crowd) -> None:
    host = crowd.host()
    with session(host.address) as own:
        child = crowd.child(reader, host.address)
        assert child.hears() == "reads"
        assert own.call("probe", "count", ("closed",), {}) == 0
        child.kill()
        until(lambda: own.call("probe", "count", ("closed",), {}) == 1)


class Noting:
    """Watches, and notes who is inside."""

    def __init__(self) -> None:
        self.inside, self.entries = 0, 0

    def entered(self, call: Any) -> int:
        self.inside, self.entries = self.inside + 1, self.entries + 1
        return self.entries

    def left(self, token: int) -> None:
        self.inside -= 1


def test_each_item_is_a_run_of_its_own_to_who_watches(service: Service) -> None:
    watch = service.objects.get("probe").watch = Noting()
    with session_with(service) as own:
        stream = own.call("probe", "stream", (5, 0, 3), {})
        assert next(stream) == 0
        until(lambda: watch.entries == 5 and not watch.inside)  # the call, three items and what it raised
        assert [next(stream), next(stream)] == [1, 2]
        with pytest.raises(ValueError, match="item 3"):
            next(stream)


def test_items_are_made_in_the_lanes_of_their_model(runtime: str) -> None:
    with running_server('[models.cell]\nfactory = "zoo:Cell"\nlanes = 1\n', runtime) as server:
        cell = connect(server.address).model("cell")
        with ThreadPoolExecutor() as pool:
            read = [pool.submit(list, cell.visits(40)) for _ in range(4)]
            for _ in range(40):
                cell.stay()
            assert [each.result() for each in read] == [list(range(40))] * 4
        assert cell.most() == 1


@pytest.mark.parametrize("how", ["polite", "native"])
def test_an_item_that_takes_longer_than_the_models_max_run_is_stuck_and_a_slow_reader_is_not(
    how: str, runtime: str
) -> None:
    config = '[models.slow]\nfactory = "zoo:Loiterer"\nidempotent = ["add"]\nmax_run = 0.5\n'
    with running_server(config, runtime) as server:
        slow = connect(server.address).model("slow")
        letters = slow.letters("ab" * WINDOW)
        drops = slow.drip(how)
        assert next(drops) == "one"
        with pytest.raises(Stuck, match=r"slow\.drip\(\) ran"):
            next(drops)
        if how == "polite":
            assert "".join(letters) == "ab" * WINDOW
        assert slow.add(1, 2) == 3
