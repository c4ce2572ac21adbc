"""A result belongs to its caller: it outlives proxy, session and host, and keeping it blocks nobody."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from sharedmodel import reply
from sharedmodel.manager import ModelManager
from sharedmodel.memory import VIEW_FROM
from sharedmodel.sessions import SESSIONS

from .crowd import Crowd, probe, until

SMALL = 8_000
LARGE = VIEW_FROM + 50_000
MB = 1 << 20


class Maker:
    """Makes results, and keeps some of them."""

    def __init__(self) -> None:
        self._kept: Any = None

    def filled(self, nbytes: int, value: int) -> Any:
        return np.full(nbytes, value, "u1")

    def in_place(self, nbytes: int, value: int) -> Any:
        out = reply.empty(nbytes, "u1")
        out[:] = value
        return out

    def twice(self, nbytes: int) -> Any:
        out = self.in_place(nbytes, 3)
        return [out, {"again": out}]

    def sliced(self, nbytes: int) -> Any:
        out = self.in_place(nbytes, 4)
        out[: nbytes // 2] = 9
        return out[nbytes // 2 :], out[::2], out[:100]

    def keeps(self, nbytes: int) -> Any:
        self._kept = self.in_place(nbytes, 5)
        return self._kept

    def kept(self) -> Any:
        return self._kept

    def drops(self, nbytes: int) -> None:
        self._kept = None
        self.in_place(nbytes, 6)

    def fails(self, array: Any) -> None:
        out = reply.empty(LARGE, "u1")
        raise KeyError(f"{array.size + out.size} bytes")

    def fails_and_keeps(self, array: Any) -> None:
        try:
            self.fails(array)
        except KeyError as exc:
            self._kept = exc
            raise

    def living(self) -> int:
        """Bytes of the blocks of this session's results that somebody needs."""
        call: Any = reply.current.call
        return int(call.peer.room.replies.live_bytes)


class Manager(ModelManager):
    pass


Manager.register("Maker", Maker)


@contextlib.contextmanager
def making() -> Iterator[Any]:
    with Manager() as manager:
        yield manager.Maker()  # type: ignore[attr-defined]


def usable(array: Any, value: int) -> bool:
    """Whether it is intact, can be written to, and then holds what was written."""
    if not (array == value).all():
        return False
    array[:] = 77
    return bool((array == 77).all())


# -- what a result outlives -------------------------------------------------------------------------------


@pytest.mark.parametrize("nbytes", [1, SMALL, LARGE, 5 * MB])
@pytest.mark.parametrize("method", ["filled", "in_place"])
def test_a_result_outlives_its_proxy_its_session_and_its_host(method: str, nbytes: int) -> None:
    with Manager() as manager:
        maker = manager.Maker()  # type: ignore[attr-defined]
        first, second, third, fourth = (getattr(maker, method)(nbytes, value) for value in range(4))
        del maker
        assert manager._number_of_objects() == 0
        assert usable(first, 0)
        SESSIONS.close(str(manager.address))
        assert usable(second, 1)
        assert manager._number_of_objects() == 0
        assert (third == 2).all()
        os.kill(manager._process.pid, signal.SIGKILL)
        manager._process.join()
        assert usable(third, 2)
    assert usable(fourth, 3)
    assert (first == 77).all()


def test_thousands_of_kept_results_stay_intact_under_traffic() -> None:
    with making() as maker:
        end = threading.Event()

        def traffic() -> None:
            value = 0
            while not end.is_set():
                value = (value + 1) % 251
                for nbytes in (SMALL, LARGE):
                    assert (maker.filled(nbytes, value) == value).all()

        other = threading.Thread(target=traffic)
        other.start()
        try:
            small = [maker.filled(SMALL, number % 251) for number in range(3000)]
            large = [maker.in_place(LARGE, number % 251) for number in range(1000)]
            del large[::2]
            large += [maker.filled(LARGE, number % 251) for number in range(500)]
        finally:
            end.set()
            other.join()
        assert all((array == number % 251).all() for number, array in enumerate(small))
        assert all((array == (2 * number + 1) % 251).all() for number, array in enumerate(large[:500]))
        assert all((array == number % 251).all() for number, array in enumerate(large[500:]))
        del small, large
        assert maker.living() == 0


def test_a_view_of_a_result_keeps_it_as_the_result_itself_does() -> None:
    with making() as maker:
        view = maker.filled(LARGE, 1)[10:20].reshape(2, 5)[1:]
        for value in range(2, 20):
            maker.filled(LARGE, value)
        assert (view == 1).all()
        del view
        assert maker.living() == 0


# -- the quota --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["plain", "filled"])
def test_past_the_quota_results_are_private_copies_and_nothing_blocks(method: str, crowd: Crowd) -> None:
    host = crowd.host(reply_quota=8 * MB)
    make = getattr(probe(host.address, timeout=20), method)
    kept = [make(MB, value) for value in range(60)]
    assert not kept[0].flags.owndata, "the first ones are views"
    assert all(array.flags.owndata for array in kept[10:]), "and those past the quota are not"
    (status,) = SESSIONS.current(host.address).control("status")["sessions"]
    assert status["replies"] <= 32 * MB
    assert all(usable(array, value) for value, array in enumerate(kept))
    del kept
    assert not make(MB, 1).flags.owndata, "room again"


# -- results made in place --------------------------------------------------------------------------------


@pytest.mark.parametrize("nbytes", [SMALL, LARGE])
def test_a_result_made_in_place_may_be_returned_twice_in_one_answer(nbytes: int) -> None:
    with making() as maker:
        first, rest = maker.twice(nbytes)
        second = rest["again"]
        del rest
        assert (first == 3).all()
        del first
        maker.filled(nbytes, 8)
        assert (second == 3).all()
        del second
        assert maker.living() == 0


@pytest.mark.parametrize("nbytes", [SMALL, 2 * LARGE])
def test_parts_of_a_result_made_in_place_may_be_returned(nbytes: int) -> None:
    with making() as maker:
        rear, steps, front = maker.sliced(nbytes)
        maker.filled(nbytes, 8)
        assert (rear == 4).all() and rear.size == nbytes // 2
        assert (steps[: nbytes // 4] == 9).all() and (steps[nbytes // 4 :] == 4).all()
        assert (front == 9).all()
        del rear, steps, front
        assert maker.living() == 0


def test_a_result_that_the_model_keeps_is_not_overwritten_and_goes_when_the_model_lets_go() -> None:
    with making() as maker:
        first = maker.keeps(LARGE)
        del first
        for value in range(10, 20):
            maker.filled(LARGE, value)
        again = maker.kept()
        assert (again == 5).all()
        maker.drops(LARGE)
        assert (again == 5).all(), "the caller has it still"
        del again
        assert maker.living() == 0


# -- exceptions -------------------------------------------------------------------------------------------


def fails(maker: Any, method: str, array: Any) -> Exception:
    try:
        getattr(maker, method)(array)
    except KeyError as exc:
        return exc.with_traceback(None)  # which has the frames of this process, as any exception's
    raise AssertionError(f"{method} did not fail")


@pytest.mark.parametrize("method", ["fails", "fails_and_keeps"])
def test_a_kept_exception_pins_nothing(method: str) -> None:
    with making() as maker:
        session = SESSIONS.current(maker._token.address)
        gc.disable()
        try:
            array = session.empty(LARGE, "u1")
            assert array is not None
            ref = weakref.ref(array)
            kept = fails(maker, method, array)
            del array
            assert ref() is None, "neither the exception here nor a cycle has the argument"
            until(lambda: maker.living() == 0 and session.channel.requests.live_bytes == 0)
            assert "in fails" in str(kept.__cause__)
        finally:
            gc.enable()
