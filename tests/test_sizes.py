"""From nothing to a gigabyte, both ways, with and without shared memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from sharedmodel import reply
from sharedmodel.manager import ModelManager
from sharedmodel.session import Session
from sharedmodel.sessions import SESSIONS

SIZES = [0, 1, 2 << 10, (2 << 10) + 1, 300_000, 64 << 20]
GIGABYTE = 1 << 30


class Scale:
    """Says what it is given, and gives what it is asked for."""

    def echo(self, value: Any) -> Any:
        return value

    def weigh(self, array: Any) -> tuple[Any, int]:
        return array.shape, int(array.sum(dtype="u8"))

    def filled(self, nbytes: int, value: int) -> Any:
        return np.full(nbytes, value, "u1")

    def in_place(self, nbytes: int, value: int) -> Any:
        out = reply.empty(nbytes, "u1")
        out[:] = value
        return out

    def sums(self, arrays: list[Any]) -> list[int]:
        return [int(array.sum()) for array in arrays]

    def many(self, count: int, nbytes: int) -> list[Any]:
        return [np.full(nbytes, number % 251, "u1") for number in range(count)]

    def marked(self, nbytes: int) -> Any:
        """Few of its pages are touched."""
        out = reply.empty(nbytes, "u1")
        out[[0, nbytes // 2, -1]] = 1, 2, 3
        return out

    def corners(self, array: Any) -> list[int]:
        return [int(array[0]), int(array[array.size // 2]), int(array[-1])]


class Manager(ModelManager):
    pass


Manager.register("Scale", Scale)


@contextlib.contextmanager
def weighing(shared_memory: bool) -> Iterator[tuple[Any, Session]]:
    with Manager() as manager:
        address = str(manager.address)
        SESSIONS.close(address)
        SESSIONS.remember(address, shared_memory=shared_memory)
        yield manager.Scale(), SESSIONS.current(address)  # type: ignore[attr-defined]


both = pytest.mark.parametrize("shared_memory", [True, False])


@both
@pytest.mark.parametrize("nbytes", SIZES)
def test_arrays_of_every_size_go_there_and_come_back(nbytes: int, shared_memory: bool) -> None:
    with weighing(shared_memory) as (scale, _):
        array = np.full(nbytes, 3, "u1")
        assert scale.weigh(array) == ((nbytes,), 3 * nbytes)
        for result in (scale.filled(nbytes, 5), scale.in_place(nbytes, 5)):
            assert result.shape == (nbytes,) and (result == 5).all()
            result[:] = 6
        again = scale.echo(array)
        assert again.flags.writeable and np.array_equal(again, array)


@both
@pytest.mark.parametrize("nbytes", SIZES)
def test_an_array_of_the_sessions_own_memory_goes_there(nbytes: int, shared_memory: bool) -> None:
    with weighing(shared_memory) as (scale, session):
        array = session.empty(nbytes, "u1")
        assert (array is not None) == (shared_memory and nbytes > 0)
        if array is not None:
            array[:] = 2
            assert scale.weigh(array) == ((nbytes,), 2 * nbytes)
            assert scale.weigh(array.reshape(1, -1)[:, : nbytes // 2]) == ((1, nbytes // 2), 2 * (nbytes // 2))


@both
@pytest.mark.parametrize("kind", [bytes, bytearray, str])
@pytest.mark.parametrize("length", [0, 1, 70_000, 64 << 20])
def test_bytes_and_text_of_every_length_come_back(length: int, kind: Any, shared_memory: bool) -> None:
    value = "x" * length if kind is str else kind(b"x" * length)
    with weighing(shared_memory) as (scale, _):
        again = scale.echo(value)
        assert type(again) is kind
        assert again == value


@both
@pytest.mark.parametrize("shape", [(0,), (0, 5), (3, 0, 2), (), (1, 1), (300, 7), (100, 50, 40)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_shapes_and_orders_are_kept(shape: tuple[int, ...], order: Any, shared_memory: bool) -> None:
    array = np.arange(np.prod(shape, dtype=int), dtype="f8").reshape(shape, order=order)
    with weighing(shared_memory) as (scale, _):
        again = scale.echo(array)
        assert again.shape == shape and again.dtype == array.dtype
        assert np.array_equal(again, array)
        assert (again.flags.c_contiguous, again.flags.f_contiguous) == (
            array.flags.c_contiguous,
            array.flags.f_contiguous,
        )


@both
@pytest.mark.parametrize("nbytes", [16, 3_000])
def test_ten_thousand_arrays_in_one_call(nbytes: int, shared_memory: bool) -> None:
    with weighing(shared_memory) as (scale, session):
        arrays = [np.full(nbytes, number % 251, "u1") for number in range(10_000)]
        expected = [nbytes * (number % 251) for number in range(10_000)]
        for _ in range(2):
            assert scale.sums(arrays) == expected
            results = scale.many(10_000, nbytes)
            assert [int(array.sum()) for array in results] == expected
        del results
        assert scale.echo(1) == 1
        assert session.channel.requests.live_bytes == 0


def test_a_gigabyte_goes_both_ways_in_place() -> None:
    with weighing(True) as (scale, session):
        array = session.empty(GIGABYTE, "u1")
        assert array is not None
        array[[0, GIGABYTE // 2, -1]] = 4, 5, 6
        assert scale.corners(array) == [4, 5, 6]
        assert scale.corners(array[1:]) == [0, 5, 6]
        del array
        result = scale.marked(GIGABYTE)
        assert result.nbytes == GIGABYTE and not result.flags.owndata
        assert [int(result[index]) for index in (0, GIGABYTE // 2, -1)] == [1, 2, 3]
        result[5] = 9
        assert scale.corners(result[5:]) == [9, 0, 3]
