"""Proxies as arguments and results, of this host and of others, of objects that are gone and of hosts that are."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sharedmodel.errors import HostLost, UnknownObject
from sharedmodel.manager import ModelManager
from sharedmodel.proxy import AutoProxy, Token
from sharedmodel.sessions import SESSIONS

from .crowd import until

SOON = 10.0


class Box:
    """Keeps a value; its end can be made slow."""

    def __init__(self, value: Any = None, slow_end: bool = False) -> None:
        self._value = value
        self._slow_end = slow_end

    def get(self) -> Any:
        return self._value

    def put(self, value: Any) -> None:
        self._value = value

    def put_all(self, *values: Any) -> int:
        self._value = values
        return len(values)

    def inner(self) -> Any:
        return self._value.get()

    def call_back(self, other: Any, value: Any) -> Any:
        other.put(value)
        return other.get()

    def __del__(self) -> None:
        if self._slow_end:
            ENDS.wait(SOON)


ENDS = threading.Event()


def let_end() -> Any:
    ENDS.set()
    return ENDS


class Manager(ModelManager):
    pass


Manager.register("Box", Box)
Manager.register("let_end", let_end, exposed=["is_set"])


@pytest.fixture
def one() -> Any:
    with Manager() as manager:
        yield manager


@pytest.fixture
def two() -> Any:
    with Manager() as manager:
        yield manager


def stale(manager: Any) -> Any:
    """A proxy whose object is gone."""
    made = manager.Box()
    token = made._token
    exposed = made._exposed_
    del made
    until(lambda: not _lives(manager, token.id))
    return AutoProxy(token, exposed=exposed, manager_owned=True)


def _lives(manager: Any, ident: str) -> bool:
    try:
        SESSIONS.current(manager.address).control("describe", ident)
    except UnknownObject:
        return False
    return True


def test_a_proxy_to_an_object_that_is_gone_is_an_error_of_that_call_alone(one: Any) -> None:
    box, gone = one.Box("kept"), stale(one)
    session = SESSIONS.current(one.address)
    for wrap in (lambda p: p, lambda p: [1, {"x": p}], lambda p: (p, b"x" * 3_000_000)):
        with pytest.raises(UnknownObject, match="it was dropped"):
            box.put(wrap(gone))
        assert box.get() == "kept"
    assert SESSIONS.current(one.address) is session


def test_a_proxy_given_and_dropped_at_once_arrives_alive(one: Any) -> None:
    box = one.Box()
    for number in range(200):
        box.put(one.Box(number))
        assert box.inner() == number
        box.put([one.Box(number), b"x" * (2_000_000 if number % 50 == 0 else 1)])
        assert box.get()[0].get() == number
    del box
    until(lambda: one._number_of_objects() == 0)


def test_a_proxy_of_another_manager_is_an_argument_and_a_result(one: Any, two: Any) -> None:
    mine, theirs = one.Box(), two.Box("of two")
    mine.put(theirs)
    assert mine.inner() == "of two"
    del theirs
    assert mine.inner() == "of two"
    back = mine.get()
    assert back._token.address == two.address
    mine.put(None)
    assert back.get() == "of two"
    del back
    until(lambda: two._number_of_objects() == 0)


def test_managers_that_call_one_another_do_not_wait_for_one_another(one: Any, two: Any) -> None:
    mine, theirs = [one.Box() for _ in range(8)], [two.Box() for _ in range(8)]
    with ThreadPoolExecutor(16) as pool:
        for turn in range(20):
            crossing = [pool.submit(a.call_back, b, (turn, b)) for a, b in zip(mine, theirs, strict=True)]
            crossing += [pool.submit(b.call_back, a, (turn, a)) for a, b in zip(mine, theirs, strict=True)]
            for future in crossing:
                assert future.result(SOON)[0] == turn
    for box in mine + theirs:
        box.put(None)


def test_a_proxy_of_a_manager_that_is_gone_is_an_error_of_that_call_alone(one: Any) -> None:
    with Manager() as gone:
        of_gone = gone.Box()
        box = one.Box("kept")
    with pytest.raises(HostLost):
        box.put(of_gone)
    assert box.get() == "kept"


def test_a_proxy_of_a_host_that_never_answers_holds_up_that_call_alone(one: Any, runtime: str) -> None:
    with socket.socket(socket.AF_UNIX) as silent, ThreadPoolExecutor() as pool:
        silent.bind(f"{runtime}/silent")
        silent.listen()
        never = AutoProxy(Token("Box", f"{runtime}/silent", "1-1"), exposed=("get",), manager_owned=True)
        box, other = one.Box("kept"), one.Box()
        held = pool.submit(box.put, never)
        accepted, _ = silent.accept()
        for number in range(50):
            other.put(number)
            assert other.get() == number
        assert one.Box(5).get() == 5
        accepted.close()
        with pytest.raises(HostLost):
            held.result(SOON)
        assert box.get() == "kept"


@pytest.mark.parametrize("how", ["dropped", "closed"])
def test_an_object_that_takes_long_to_end_holds_up_nobody(how: str, one: Any) -> None:
    other = one.Box(1)
    slow = one.Box(slow_end=True)
    assert slow.get() is None
    if how == "dropped":
        del slow
    else:
        SESSIONS.close(one.address)
        other = one.Box(1)
    call: Callable[[], Any] = other.get
    with ThreadPoolExecutor() as pool:
        for _ in range(20):
            assert pool.submit(call).result(3) == 1
    assert one.let_end().is_set()
