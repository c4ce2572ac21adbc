"""`AsyncSession`: many tasks of an event loop, one connection, no threads."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest

from sharedmodel.aio import AsyncSession

from .loops import MEGABYTE, Ask, Manager, on_loop, run


def test_hundreds_of_calls_at_once_each_get_their_own_answer() -> None:
    async def main(opened: AsyncSession, ask: Ask) -> None:
        assert await asyncio.gather(*(ask("echo", n) for n in range(800))) == list(range(800))

    on_loop(main)


def test_arrays_of_all_sizes_at_once_come_back_as_they_should() -> None:
    async def main(opened: AsyncSession, ask: Ask) -> None:
        async def one(number: int, size: int) -> None:
            answer = await ask("doubled", np.full(size, number, "i4"))
            assert answer.shape == (size,)
            assert (answer == 2 * number).all()

        sizes = (1, 100, 3_000, 100_000, 400_000)
        await asyncio.gather(*(one(n, sizes[n % len(sizes)]) for n in range(200)))

    on_loop(main)


def test_calls_go_on_while_others_wait_for_room() -> None:
    async def main(opened: AsyncSession, ask: Ask) -> None:
        async def small(number: int) -> None:
            for n in range(20):
                assert await ask("echo", [number, n]) == [number, n]

        async def large(number: int) -> None:
            answer = await ask("doubled", np.full((1 + number) * MEGABYTE, number, "i4"))
            assert (answer == 2 * number).all()

        await asyncio.gather(*(small(n) for n in range(50)), *(large(n) for n in range(8)))

    on_loop(main)


def test_many_first_calls_at_once_share_the_room_that_the_first_of_them_makes() -> None:
    async def main(opened: AsyncSession, ask: Ask) -> None:
        answers = await asyncio.gather(*(ask("doubled", np.full(10_000, n, "u1")) for n in range(60)))
        assert [int(answer[0]) for answer in answers] == [2 * n for n in range(60)]
        assert opened.channel.requests.capacity <= 4 * MEGABYTE

    on_loop(main)


def test_cancelling_a_call_that_waits_for_room_wastes_none() -> None:
    async def main(opened: AsyncSession, ask: Ask) -> None:
        for _ in range(10):
            task = asyncio.create_task(opened.empty(MEGABYTE, "u1"))  # type: ignore[arg-type]
            await asyncio.sleep(0)  # it has asked for room
            task.cancel()
            assert (await asyncio.gather(task, return_exceptions=True))[0] is not None
            assert await ask("echo", 1) == 1  # whose answer comes after that of the request for room
        assert opened.channel.room <= 4 * MEGABYTE

    on_loop(main)


def test_an_empty_array_is_filled_in_place_and_used_again() -> None:
    async def main(opened: AsyncSession, ask: Ask) -> None:
        x = await opened.empty((1000, 1000), "f4")
        assert x is not None
        for number in range(3):
            x[...] = number
            assert (await ask("doubled", x) == 2 * number).all()
        assert opened.channel.requests.capacity <= 8 * MEGABYTE

    on_loop(main)


def test_without_shared_memory_empty_is_none_and_arrays_cross_in_frames() -> None:
    async def main(opened: AsyncSession, ask: Ask) -> None:
        assert await opened.empty(10_000_000, "u1") is None
        x = np.arange(2_000_000, dtype="f4")
        assert (await ask("doubled", x) == 2 * x).all()

    on_loop(main, shared_memory=False)


def test_streams_are_asynchronous_iterators_and_run_beside_one_another() -> None:
    async def main(opened: AsyncSession, ask: Ask) -> None:
        async def one(count: int) -> list[int]:
            return [number async for number in await ask("numbers", count)]

        counts = (0, 1, 15, 16, 17, 300, 1000)
        assert await asyncio.gather(*map(one, counts)) == [list(range(count)) for count in counts]

    on_loop(main)


def test_a_stream_that_fails_gives_its_items_first() -> None:
    async def main(opened: AsyncSession, ask: Ask) -> None:
        seen = []
        with pytest.raises(LookupError, match="no more of them"):
            async for number in await ask("failing_numbers", 30):
                seen.append(number)  # noqa: PERF401
        assert seen == list(range(30))

    on_loop(main)


def test_a_stream_that_is_closed_early_ends_in_the_host() -> None:
    async def main(opened: AsyncSession, ask: Ask) -> None:
        stream = await ask("numbers", 1_000_000)
        assert [await anext(stream) for _ in range(5)] == list(range(5))
        await stream.aclose()
        await ask("wait", "closed")

    on_loop(main)


def test_a_stream_that_is_left_ends_in_the_host() -> None:
    async def main(opened: AsyncSession, ask: Ask) -> None:
        async for number in await ask("numbers", 1_000_000):
            if number == 5:
                break
        await ask("wait", "closed")

    on_loop(main)


def test_no_threads_are_used() -> None:
    with Manager() as manager:
        model = manager.Model()
        before = set(threading.enumerate())

        async def main(opened: AsyncSession, ask: Ask) -> None:
            await asyncio.gather(*(ask("doubled", np.ones(200_000, "f4")) for _ in range(100)))
            assert [number async for number in await ask("numbers", 100)] == list(range(100))
            assert set(threading.enumerate()) == before

        run(model, main)


def test_several_loops_one_after_another_in_one_process() -> None:
    with Manager() as manager:
        model = manager.Model()

        async def main(opened: AsyncSession, ask: Ask) -> None:
            assert await asyncio.gather(*(ask("echo", n) for n in range(50))) == list(range(50))
            assert (await ask("doubled", np.ones(300_000, "f4")) == 2).all()

        for _ in range(5):
            run(model, main)
