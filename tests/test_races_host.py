"""What happens in the worst order, at the host: each of these once hung, leaked or ended too much."""

from __future__ import annotations

import errno
import socket
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest

from sharedmodel import link, reply, wire, workers
from sharedmodel.errors import DeadlineExceeded, HostLost, ProtocolError
from sharedmodel.pending import Pending
from sharedmodel.service import Service
from sharedmodel.session import Session

from .crowd import until
from .inside import PATIENCE, call, error_of, in_thread, serving, session_with


class Raises:
    """Exceptions that are hard to send."""

    def long(self) -> None:
        raise ValueError("x" * 3_000_000)

    def many(self) -> None:
        raise ValueError(*["\N{SNOWMAN}" * 60_000] * 8)

    def annotated(self) -> None:
        exc = ValueError("later")
        exc.retry_after = threading.Lock()  # type: ignore[attr-defined]
        raise exc

    def nameless(self) -> None:
        raise type("E", (Exception,), {"__module__": None})("as asked")


@pytest.mark.parametrize("method", ["long", "many", "annotated", "nameless"])
def test_an_exception_that_is_hard_to_send_ends_its_call_and_nothing_else(runtime: str, method: str) -> None:
    with serving(runtime, raises=Raises()) as service, session_with(service) as session:
        for _ in range(2):
            with pytest.raises(Exception, match=r"xxx|☃|later|as asked"):
                call(session, method, on="raises")
        assert call(session, "echo", 1) == 1


@pytest.mark.parametrize("ident", [np.zeros(3), memoryview(b"12345678").cast("i"), 1.5, None])
def test_an_object_number_that_is_none_ends_that_session_alone(service: Service, session: Session, ident: Any) -> None:
    with session_with(service) as hostile:
        hostile.sender.send(hostile.channel.begin(Pending("echo"), ident, (), {}, None))
        with pytest.raises(HostLost):
            call(hostile, "echo")
        assert call(session, "echo", 1) == 1


def test_a_request_number_beyond_64_bits_ends_that_session_alone(service: Service, session: Session) -> None:
    with session_with(service) as hostile:
        hostile.channel._numbers = iter([1 << 70])  # type: ignore[assignment]
        with pytest.raises(HostLost):
            hostile.call("nobody", "echo", (), {}, PATIENCE)
        assert call(session, "echo", 1) == 1


def test_a_session_that_ends_twice_does_not_end_the_one_that_has_its_number_now(service: Service) -> None:
    with session_with(service) as first:
        call(first, "echo")
        (old,) = service.peers.values()
    until(lambda: old.sock.fileno() < 0)
    with session_with(service) as second:
        call(second, "echo")
        (new,) = service.peers.values()
        assert new.fd == old.fd
        service.fault(old, ProtocolError("its long frame was being read when it ended"))
        assert call(second, "echo", 1) == 1


def test_an_answer_queued_while_the_loop_looks_away_is_sent(service: Service, session: Session) -> None:
    """The loop has seen that nothing is left to send, and is about to say so, when a worker leaves it something."""
    call(session, "echo")
    (peer,) = service.peers.values()
    watched, outlet = service.watched, peer.outlet
    modify, between = watched._epoll.modify, threading.Event()

    class Epoll:
        def modify(self, fd: int, mask: int) -> None:
            if threading.current_thread() is loop:
                between.set()
                other.join(0.2)  # it can't come in between any more
            modify(fd, mask)

        def __getattr__(self, name: str) -> Any:
            return getattr(epoll, name)

    def leave() -> None:
        between.wait(PATIENCE)
        with outlet.lock:
            outlet._frames.append((memoryview(wire.frame([wire.PONG, 1])), ()))
            outlet.unsent += 1
        watched.update(peer)

    epoll, watched._epoll = watched._epoll, Epoll()  # type: ignore[assignment]
    loop, other = threading.Thread(target=watched.update, args=[peer]), threading.Thread(target=leave)
    other.start()
    loop.start()
    loop.join()
    other.join()
    watched._epoll = epoll
    until(lambda: not outlet._frames)


# -- ends ------------------------------------------------------------------------------------------------


class Clumsy:
    """Its callback fails."""

    def __init__(self) -> None:
        self.entered, self.left = threading.Event(), threading.Event()

    def wait(self) -> None:
        with reply.on_cancel(self.stop):
            self.entered.set()
            self.left.wait(PATIENCE)

    def stop(self) -> None:
        self.left.set()
        raise ValueError("as asked")


def test_a_callback_that_fails_costs_neither_the_session_nor_the_other_callbacks(runtime: str) -> None:
    first, second = Clumsy(), Clumsy()
    with serving(runtime, first=first, second=second) as service, session_with(service) as session:
        with pytest.raises(DeadlineExceeded):
            session.call("first", "wait", (), {}, 0.05)
        assert first.left.wait(PATIENCE)
        assert call(session, "echo", 1) == 1
        first.left.clear()
        session.control("create", "Item", [1], {})
        for name in ("first", "second"):
            session.sender.send(session.channel.begin(Pending("wait"), name, (), {}, None))
        assert second.entered.wait(PATIENCE)
        session.close()
        assert second.left.wait(PATIENCE)
        until(lambda: not service.objects.counted())


def test_an_answer_that_can_not_be_sent_is_the_end_of_its_session(
    service: Service, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(sock: socket.socket, data: Any, fds: tuple[int, ...] = ()) -> int:
        raise OSError(errno.ETOOMANYREFS, "too many descriptors are under way")

    call(session, "echo")
    monkeypatch.setattr(link, "send", refuse)
    assert isinstance(in_thread(lambda: error_of(lambda: session.call("probe", "plain", (1 << 20,), {})))(), HostLost)


def test_with_every_worker_blocked_the_host_still_reads_and_ends_sessions(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "MOST", 3)
    with session_with(service) as session:
        for _ in range(4):
            session.sender.send(session.channel.begin(Pending("wait"), "probe", ("never",), {}, None))
        with session_with(service) as other:
            assert other.welcome
    until(lambda: not service.peers)
    with session_with(service) as session:
        assert call(session, "echo", 1) == 1


def test_the_host_knows_a_segment_before_the_client_does(service: Service) -> None:
    """Any thread of the client may use it from then on, and not only the one that has asked for it."""
    known: list[bool] = []
    with session_with(service) as session:
        call(session, "echo")
        (peer,) = service.peers.values()
        room, send = peer.room, peer.room._send

        def watched(data: bytes, fds: tuple[int, ...]) -> None:
            known.append(bool(room.requests.segments) and room.request_bytes > 0)
            send(data, fds)

        room._send = watched
        assert call(session, "total", np.ones(300_000, "u1")) == 300_000
    assert known == [True]


# Another thread than the main one takes the signal, as the kernel may have it while threads come and go.
SIGNALLED = """
import os, signal, sys, threading, time
from sharedmodel import link, service
from sharedmodel.objects import Objects
served = service.Service(link.listen(sys.argv[1]), Objects())
signal.signal(signal.SIGTERM, lambda *_: served.stop())
def other():
    looks = 0
    while looks < 20:  # in a row, or it may be on its way in
        time.sleep(0.005)
        asleep = open(f"/proc/{os.getpid()}/stat").read().rpartition(")")[2].split()[0] == "S"
        looks = looks + 1 if asleep and served.stopped._cond._waiters else 0
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
threading.Thread(target=other).start()
served.serve_forever()
"""


def test_a_signal_that_another_thread_takes_ends_the_host_all_the_same(runtime: str) -> None:
    done = subprocess.run([sys.executable, "-c", SIGNALLED, f"{runtime}/s.sock"], timeout=30, check=False)
    assert done.returncode == 0


def test_a_host_without_descriptors_and_threads_accepts_again_when_it_has_some(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Exhausted:
        """Of descriptors, once."""

        fileno = service.listener.fileno

        def accept(self) -> None:
            service.listener = listener
            raise OSError(errno.EMFILE, "Too many open files")

    def no_threads(timer: threading.Timer) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Timer, "start", no_threads)
    listener, service.listener = service.listener, Exhausted()  # type: ignore[assignment]
    with session_with(service) as session:
        assert call(session, "echo", 1) == 1
