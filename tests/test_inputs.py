"""Arguments: what the model keeps stays as it was, and what lies in shared memory already is not copied."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from sharedmodel import reply
from sharedmodel.manager import ModelManager
from sharedmodel.session import Session
from sharedmodel.sessions import SESSIONS
from sharedmodel.tensor import Array

from .crowd import until

SMALL = 8_000
LARGE = 400_000


class Keeper:
    """Keeps its arguments, or looks at them late."""

    def __init__(self) -> None:
        self._kept: list[Any] = []
        self._entered = threading.Semaphore(0)
        self._gate = threading.Semaphore(0)

    def echo(self, value: Any) -> Any:
        return value

    def total(self, value: Any) -> int:
        return int(value.sum())

    def keep(self, value: Any) -> int:
        self._kept.append(value)
        return int(value.sum())

    def totals(self) -> list[int]:
        return [int(np.asarray(kept).sum()) for kept in self._kept]

    def kept(self, index: int) -> Any:
        return self._kept[index]

    def let_go(self, index: int = 0) -> None:
        del self._kept[index]

    def keep_and_fail(self, value: Any) -> None:
        self._kept.append(value)
        raise ValueError("kept")

    def keep_a_part(self, value: Any) -> None:
        self._kept.append(value[10:20])

    def change(self, value: Any) -> None:
        value[0] = 1

    def filled(self, nbytes: int, value: int) -> Any:
        out = reply.empty(nbytes, "u1")
        out[:] = value
        return out

    def late(self, value: Any) -> list[int]:
        """What it sees in the corners, once the gate is opened."""
        self._entered.release()
        self._gate.acquire()
        return [int(value.flat[0]), int(value.flat[-1])]

    def entered(self) -> None:
        self._entered.acquire()

    def open(self) -> None:
        self._gate.release()


class Manager(ModelManager):
    pass


Manager.register("Keeper", Keeper)


@contextlib.contextmanager
def keeping() -> Iterator[tuple[Any, Session]]:
    with Manager() as manager:
        yield manager.Keeper(), SESSIONS.current(str(manager.address))  # type: ignore[attr-defined]


def made(session: Session, shape: Any) -> Array:
    array = session.empty(shape, "u1")
    assert array is not None
    return array


def in_use(session: Session) -> int:
    return session.channel.requests.live_bytes


def traffic(keeper: Any) -> None:
    for value in range(30):
        for nbytes in (SMALL, LARGE):
            assert (keeper.echo(np.full(nbytes, value, "u1")) == value).all()


@pytest.mark.parametrize("nbytes", [100, SMALL, LARGE])
def test_arguments_that_the_model_keeps_stay_as_they_were(nbytes: int) -> None:
    with keeping() as (keeper, session):
        for value in range(20):
            keeper.keep(np.full(nbytes, value, "u1"))
        traffic(keeper)
        assert keeper.totals() == [nbytes * value for value in range(20)]
        assert (keeper.kept(7) == 7).all()
        for _ in range(20):
            keeper.let_go()
        keeper.total(np.zeros(1))
        assert in_use(session) == 0


@pytest.mark.parametrize("keep", ["keep", "keep_and_fail", "keep_a_part"])
def test_the_block_of_a_kept_argument_comes_back_once_the_model_lets_go(keep: str) -> None:
    with keeping() as (keeper, session):
        array = made(session, LARGE)
        array[:] = 3
        with contextlib.suppress(ValueError):
            getattr(keeper, keep)(array)
        del array
        traffic(keeper)
        assert LARGE <= in_use(session) < 2 * LARGE
        assert keeper.totals() == [30 if keep == "keep_a_part" else 3 * LARGE]
        keeper.let_go()
        assert in_use(session) == 0


def test_an_argument_kept_twice_is_held_until_both_are_let_go() -> None:
    with keeping() as (keeper, session):
        array = made(session, LARGE)
        array[:] = 3
        keeper.keep(array)
        keeper.keep(array)
        del array
        keeper.let_go()
        traffic(keeper)
        assert in_use(session) >= LARGE and keeper.totals() == [3 * LARGE]
        keeper.let_go()
        assert in_use(session) == 0


def test_an_argument_is_read_only_for_the_model() -> None:
    with keeping() as (keeper, session):
        for array in (np.zeros(10), np.zeros(LARGE), made(session, LARGE)):
            with pytest.raises(ValueError, match="read-only"):
                keeper.change(array)
            assert array[0] == 0


def test_an_array_in_shared_memory_is_used_for_one_call_after_another() -> None:
    with keeping() as (keeper, session):
        array = made(session, (2, LARGE // 2))
        used = in_use(session)
        for value in range(200):
            array[:] = value
            assert keeper.total(array) == value * LARGE
        assert in_use(session) == used, "nothing was copied"
        del array
        assert in_use(session) == 0


SHAPES = {
    "whole": lambda array: array,
    "one row": lambda array: array[5],
    "reshaped": lambda array: array.reshape(40, -1)[1:],
    "transposed": lambda array: array.T,
    "other dtype": lambda array: array.view("u2")[2:],
    "a view's": lambda array: array[2:][1:4],
}


@pytest.mark.parametrize("part", SHAPES)
@pytest.mark.parametrize("source", ["empty", "result", "own"])
def test_arrays_in_shared_memory_are_not_copied_nor_are_parts_of_them(source: str, part: str) -> None:
    # Proven by what the model sees of what is written after it was called.
    with keeping() as (keeper, session), ThreadPoolExecutor() as pool:
        flat = {
            "empty": lambda: made(session, LARGE),
            "result": lambda: keeper.filled(LARGE, 0),
            "own": lambda: np.zeros(LARGE, "u1"),
        }[source]()
        array = SHAPES[part](flat.reshape(10, -1))
        array[...] = 1
        call = pool.submit(keeper.late, array)
        keeper.entered()
        array[...] = 2
        keeper.open()
        assert call.result(20) == ([1, 1] if source == "own" else [2, 2])


def test_a_part_with_gaps_crosses_as_it_was_when_it_was_sent() -> None:
    with keeping() as (keeper, session), ThreadPoolExecutor() as pool:
        array = made(session, (10, LARGE // 10))
        array[:] = 1
        call = pool.submit(keeper.late, array[:, ::3])
        keeper.entered()
        array[:] = 2
        keeper.open()
        assert call.result(20) == [1, 1]
        assert keeper.total(array[:, 5]) == 20


def test_an_array_dropped_while_the_model_looks_at_it_is_not_overwritten() -> None:
    with keeping() as (keeper, session), ThreadPoolExecutor(8) as pool:
        calls = []
        for value in range(8):
            array = made(session, LARGE)
            array[:] = value
            calls.append(pool.submit(session.call, keeper._id, "late", (array,), {}))
            del array
            keeper.entered()
        traffic(keeper)
        for _ in calls:
            keeper.open()
        assert [call.result(20) for call in calls] == [[value, value] for value in range(8)]


def test_a_call_that_was_given_up_keeps_its_argument_until_the_model_has_ended() -> None:
    with keeping() as (keeper, session):
        array = made(session, LARGE)
        with pytest.raises(TimeoutError):
            session.call(keeper._id, "late", (array,), {}, 0.05)
        del array
        traffic(keeper)
        assert in_use(session) >= LARGE
        keeper.open()
        until(lambda: keeper.totals() == [] and in_use(session) == 0)


def test_a_result_that_is_passed_back_may_be_kept_and_returned_again() -> None:
    with keeping() as (keeper, session):
        result = keeper.filled(LARGE, 6)
        keeper.keep(result)
        assert in_use(session) == 0, "it was not copied"
        del result
        traffic(keeper)
        again, part = keeper.kept(0), keeper.echo(keeper.kept(0)[50:])
        keeper.let_go()
        assert (again == 6).all() and (part == 6).all()
