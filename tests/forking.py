"""Processes that fork with a session open, run as children of the tests; each checks itself and says how it went."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import threading
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np

from sharedmodel import manager
from sharedmodel.aio import AsyncSession
from sharedmodel.errors import SharedModelError
from sharedmodel.session import Session
from sharedmodel.sessions import SESSIONS

from .crowd import listen, probe, say, until
from .doomed import item
from .forked import Both, forked

LARGE, COUNT = 700_001, 10


def traffic(call: Callable[[str, Any], Any], times: int = 60) -> None:
    """Calls that use every block that is free."""
    rng = np.random.default_rng(os.getpid())
    for _ in range(times):
        value = int(rng.integers(0, 255))
        assert (call("filled", LARGE) == 7).all()
        assert call("total", np.full(LARGE, value, "u1")) == value * LARGE


def unchanged(arrays: list[Any], inputs: list[Any]) -> None:
    for number, array in enumerate(arrays):
        assert (array == number).all(), f"result {number} has changed"
    for number, array in enumerate(inputs):
        assert (array == 100 + number).all(), f"input {number} has changed"


def used_in_both(both: Both, results: list[Any], inputs: list[Any], call: Callable[[str, Any], Any]) -> None:
    """Everything stays as it was under the other's traffic and writes; one's own writes stay one's own."""
    both.meet()
    traffic(call)
    unchanged(results, inputs)
    both.meet()
    if both.in_child:
        for array in [*results, *inputs]:
            array[:] = 255
    both.meet()
    if not both.in_child:
        unchanged(results, inputs)
        for array in [*results, *inputs]:
            array[: len(array) // 2] = 254
    both.meet()
    mine = 255 if both.in_child else 254
    assert all((array[:10] == mine).all() for array in [*results, *inputs])
    if both.in_child:
        assert all((array == 255).all() for array in [*results, *inputs])
    # As arguments they count as they are here.
    assert call("total", inputs[0][:10]) == mine * 10
    assert call("total", inputs[1]) == int(inputs[1].sum())
    assert call("total", results[2]) == int(results[2].sum())
    traffic(call, 20)
    both.meet()


def results(address: str, kind: str) -> None:
    """Results and `empty` arrays made before a fork, used in both processes."""
    if kind == "asyncio":
        asyncio.run(_of_a_loop(address))
    elif kind == "sessions":
        target = probe(address)
        call = lambda method, *args: getattr(target, method)(*args)  # noqa: E731
        made = [call("filled", LARGE, number) for number in range(COUNT)]
        inputs = _inputs(SESSIONS.current(address).empty)
        before = SESSIONS.current(address)
        with forked() as both:
            used_in_both(both, made, inputs, call)
            assert (SESSIONS.current(address) is before) == (not both.in_child)
            pids = sorted(s["pid"] for s in SESSIONS.current(address).control("status")["sessions"])
            assert len(pids) == 2 and os.getpid() in pids
            both.meet()
    else:
        own = Session(address)
        made = [own.call("probe", "filled", (LARGE, number), {}) for number in range(COUNT)]
        inputs = _inputs(own.empty)
        if kind == "closed":
            own.close()
        with forked() as both:
            new = Session(address) if both.in_child or kind == "closed" else own
            used_in_both(both, made, inputs, lambda method, *args: new.call("probe", method, args, {}))
            if both.in_child:
                _parents_session_is_refused(own)
    say("good")


def _inputs(empty: Callable[..., Any]) -> list[Any]:
    made = [empty(LARGE, "u1") for _ in range(4)]
    for number, array in enumerate(made):
        array[:] = 100 + number
    return made


def _parents_session_is_refused(own: Session) -> None:
    for attempt in (lambda: own.call("probe", "echo", (), {}), lambda: own.control("ping"), own.nudge, own.close):
        with contextlib.suppress(SharedModelError):
            attempt()
    assert not own.alive


async def _of_a_loop(address: str) -> None:
    own = await AsyncSession.open(address)
    made = [await own.call("probe", "filled", (LARGE, number), {}) for number in range(COUNT)]
    inputs = [await own.empty(LARGE, "u1") for _ in range(4)]
    for number, array in enumerate(inputs):
        array[:] = 100 + number
    with forked() as both:
        if both.in_child:
            assert not own.alive
            new = Session(address)
            used_in_both(both, made, inputs, lambda method, *args: new.call("probe", method, args, {}))
        else:
            # The loop itself runs on here.
            for _ in range(4):
                both.meet()
                for _ in range(30):
                    assert (await own.call("probe", "filled", (LARGE,), {}) == 7).all()
                unchanged(made, inputs)
            both.meet()
            assert await own.call("probe", "total", (inputs[1],), {}) == 101 * LARGE
    own.close()


def under_traffic(address: str, forks: int) -> None:
    """Forks again and again while many threads are in mid-call."""
    target = probe(address)
    over = threading.Event()
    wrong: list[BaseException] = []
    kept = [target.filled(LARGE, number) for number in range(3)]

    def calls(kind: int) -> None:
        array = np.full(LARGE, kind, "u1")
        try:
            while not over.is_set():
                if kind % 3 == 0:
                    assert (target.filled(LARGE) == 7).all()
                elif kind % 3 == 1:
                    assert target.total(array) == kind * LARGE
                else:
                    assert target.add(kind, 1) == kind + 1
        except BaseException as exc:
            wrong.append(exc)
            raise

    threads = [threading.Thread(target=calls, args=(kind,)) for kind in range(6)]
    waiting = threading.Thread(target=target.wait)
    for thread in [*threads, waiting]:
        thread.start()
    try:
        for _ in range(forks):
            with forked():
                unchanged(kept, [])
                assert target.total(np.full(LARGE, 3, "u1")) == 3 * LARGE
                assert (target.filled(LARGE) == 7).all()
                unchanged(kept, [])
            kept = [target.filled(LARGE, number) for number in range(3)]
    finally:
        over.set()
        target.open()
        for thread in [*threads, waiting]:
            thread.join()
    assert not wrong
    say("good")


def preloaded(address: str, workers: int) -> None:
    """As gunicorn does with --preload: made once, used by forked workers, while the first one waits."""
    target, shared = probe(address), item(address, 0)
    array = SESSIONS.current(address).empty(1000)
    array[:] = 1
    pids = []
    for number in range(workers):
        pid = os.fork()
        if pid == 0:
            try:
                for _ in range(50):
                    assert target.total(array) == 1000
                    assert shared.get() == 0
                    assert target.add(number, 1) == number + 1
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        pids.append(pid)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    assert codes == [0] * workers, codes
    say("good")


def inherited(address: str) -> None:
    """A proxy that a child of multiprocessing inherits keeps its object alive, also when the parent drops its own."""
    assert manager  # with it the library that starts children is loaded, and its children are noticed
    held = [item(address, "kept")]
    ctx = multiprocessing.get_context("fork")
    ours, theirs = ctx.Pipe()

    def use() -> None:
        theirs.send("here")
        theirs.recv()
        theirs.send(held[0].get())

    child = ctx.Process(target=use)
    child.start()
    assert ours.recv() == "here"
    held.clear()
    assert SESSIONS.current(address).control("number_of_objects") == 1
    ours.send("go on")
    assert ours.recv() == "kept"
    child.join()
    assert child.exitcode == 0
    say("good")


def orphan(address: str) -> None:
    """The child goes on when its parent is dead."""
    target = probe(address)
    result = target.filled(LARGE, 5)
    if os.fork():
        say("forked")
        listen()
        os._exit(0)
    parent = os.getppid()
    say(os.getpid())
    until(lambda: os.getppid() != parent)
    traffic(lambda method, *args: getattr(target, method)(*args), 10)
    assert (result == 5).all()
    say("good")
