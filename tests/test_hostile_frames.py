"""Frames made to hurt: each ends its own session at most, and nobody else's.

A well-behaved client calls all the while and must get every answer, right. The frames go through real
sockets to a real host: handwritten worst cases one by one, and generated ones by the ten thousand.
"""

from __future__ import annotations

import os
import pickle
import random
import socket
import threading
from collections.abc import Iterator
from multiprocessing import get_context
from typing import Any

import msgpack
import numpy as np
import pytest

from sharedmodel import link, process, wire
from sharedmodel.extensions import PROXY
from sharedmodel.manager import ModelManager
from sharedmodel.sessions import SESSIONS

from .worst import WORST, Attacker, call, ext

GENERATED = 100_000


class Echo:
    def echo(self, x: Any) -> Any:
        return x


class Manager(ModelManager):
    pass


Manager.register("Echo", Echo)


@pytest.fixture
def manager() -> Iterator[Any]:
    with Manager() as manager:
        yield manager


@pytest.fixture
def spawned() -> Iterator[Any]:
    """A host that can be weighed: a forked one takes over pages that it inherits as it comes to touch them."""
    with Manager(ctx=get_context("spawn")) as manager:
        yield manager


class _Bystander(threading.Thread):
    """Calls all the while, and checks every answer."""

    def __init__(self, manager: Any) -> None:
        super().__init__(name="bystander")
        self._echo = manager.Echo()
        self._over = threading.Event()
        self.calls = 0
        self.error: Exception | None = None

    def run(self) -> None:
        large, small = np.arange(100_000.0), np.arange(5)
        try:
            while not self._over.is_set():
                assert (self._echo.echo(large) == large).all()
                assert self._echo.echo([small, "text", 7])[2] == 7
                self.calls += 1
        except Exception as exc:
            self.error = exc

    def __enter__(self) -> _Bystander:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()
        assert self.error is None, repr(self.error)
        assert self.calls > 0


class _Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (self._path,)


@pytest.mark.parametrize("case", WORST)
def test_the_worst_of_frames_ends_its_session_and_no_other(manager: Any, case: str) -> None:
    bystander = manager.Echo()
    attacker = Attacker(str(manager.address))
    attacker.send(WORST[case])
    if case.startswith(("a length", "a string that claims more")):
        attacker.sock.shutdown(socket.SHUT_WR)
    assert attacker.is_ended()
    attacker.close()
    assert bystander.echo(5) == 5


def test_a_proxy_to_somewhere_else_is_no_way_to_have_the_host_connect_there(manager: Any, runtime: str) -> None:
    trap = link.listen(f"{runtime}/trap.sock")
    trap.setblocking(False)
    attacker = Attacker(str(manager.address))
    attacker.send(ext(PROXY, msgpack.packb(["Echo", f"{runtime}/trap.sock", "1-1", ["echo"]])))
    attacker.is_ended()
    with pytest.raises(BlockingIOError):
        trap.accept()
    attacker.close()
    trap.close()


def test_frames_before_the_handshake_end_the_connection(manager: Any) -> None:
    for frame in (call(1), wire.frame([wire.PROOF, b"x"]), b"GET / HTTP/1.1\r\n\r\n", pickle.dumps({"a": 1}) * 9):
        attacker = Attacker(str(manager.address), greeted=False)
        attacker.send(frame)
        assert attacker.is_ended()
        attacker.close()


def test_nothing_is_unpickled(manager: Any, runtime: str) -> None:
    bomb = pickle.dumps(_Bomb(f"{runtime}/exploded"))
    address = str(manager.address)
    for data in (bomb, len(bomb).to_bytes(4, "big") + bomb, wire.framed(bomb), call(bomb), ext(42, bomb)):
        for greeted in (False, True):
            attacker = Attacker(address, greeted=greeted)
            attacker.send(data)
            attacker.is_ended()
            attacker.close()
    assert manager.Echo().echo(bomb) == bomb, "as bytes it may cross, being only bytes"
    assert not os.path.exists(f"{runtime}/exploded")


def test_a_hundred_thousand_generated_frames_disturb_nobody_and_leave_no_memory_behind(spawned: Any) -> None:
    manager = spawned
    chance = random.Random(20240)
    pid = SESSIONS.current(str(manager.address)).control("status")["pid"]
    sent = 0
    with _Bystander(manager):
        _storm(str(manager.address), chance, GENERATED // 10)
        before = process.resident(pid)
        while sent < GENERATED:
            sent += _storm(str(manager.address), chance, GENERATED // 10)
    status = SESSIONS.current(str(manager.address)).control("status")
    assert status["pid"] == pid
    assert len(status["sessions"]) == 1
    assert process.resident(pid) < before + (16 << 20)


def _storm(address: str, chance: random.Random, count: int) -> int:
    """Send so many bad frames, a few to a session: most sessions end at their first."""
    sent = 0
    while sent < count:
        attacker = Attacker(address)
        for _ in range(chance.randint(1, 20)):
            attacker.send(_generated(chance))
            sent += 1
        attacker.close()
    return sent


_SEEDS = [*WORST.values(), call([1, {"a": (2, 3)}]), call("x" * 100), wire.frame([wire.DROP, ["1-1"]])]


def _generated(chance: random.Random) -> bytes:
    """A frame that was valid or nearly so, with some of its bytes changed; or plain noise with a right length."""
    if chance.random() < 0.3:
        return wire.framed(chance.randbytes(chance.randint(1, 200)))
    frame = bytearray(chance.choice(_SEEDS))
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(4, len(frame)) if len(frame) > 4 else 0
        frame[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
    # Mostly with a length that is right, so that what follows is looked at.
    return bytes(frame) if chance.random() < 0.1 else wire.framed(bytes(frame[4:]))
