"""What happens in the worst order: each of these once hung, leaked or ended what it should not have."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from sharedmodel import codec, link, reply, wire, workers
from sharedmodel.call import Call
from sharedmodel.errors import CannotCross, DeadlineExceeded, HostLost, ProtocolError, UnknownObject
from sharedmodel.objects import Objects, Registration
from sharedmodel.peer import Peer
from sharedmodel.pending import Pending
from sharedmodel.proxy import ProxyRef, load_in_client, load_in_host, proxy_bytes
from sharedmodel.service import Service
from sharedmodel.session import Session
from sharedmodel.tensor import Unsupported

from .crowd import until
from .fake_host import fake_host
from .probe import Item, Probe

PATIENCE = 10.0


@contextmanager
def serving(directory: str, name: str = "host.sock", **models: Any) -> Iterator[Service]:
    """A host in this process, whose insides a test may hold still."""
    objects = Objects({"Item": Registration(Item)})
    for each, model in {"probe": Probe(), **models}.items():
        objects.publish(each, model)
    service = Service(link.listen(os.path.join(directory, name)), objects)
    service.start()
    try:
        yield service
    finally:
        service.close()
        until(lambda: not any(peer.sock.fileno() >= 0 for peer in service.peers.values()))
        os.close(service.watched.bell)


@pytest.fixture
def service(runtime: str) -> Iterator[Service]:
    with serving(runtime) as service:
        yield service


@contextmanager
def session_with(service: Service, **options: Any) -> Iterator[Session]:
    address = service.address
    session = Session(address, timeout=PATIENCE, proxy=proxy_bytes, load=load_in_client(address), **options)
    try:
        yield session
    finally:
        session.close()


@pytest.fixture
def session(service: Service) -> Iterator[Session]:
    with session_with(service) as session:
        yield session


def call(session: Session, method: str, *args: Any, on: str = "probe") -> Any:
    return session.call(on, method, args, {}, PATIENCE)


def in_thread(task: Callable[[], Any]) -> Callable[[], Any]:
    """Runs a task beside the test; what is returned waits for its result."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(task()), daemon=True)
    thread.start()

    def result() -> Any:
        thread.join(PATIENCE)
        assert results, "it does not come back"
        return results[0]

    return result


def error_of(task: Callable[[], Any]) -> Exception:
    with pytest.raises(Exception) as caught:
        task()
    return caught.value


# -- the client ------------------------------------------------------------------------------------------


def test_a_stream_that_is_dropped_half_read_ends_its_method_and_not_the_session(session: Session) -> None:
    stream = call(session, "stream", 100)
    next(stream)
    del stream
    assert call(session, "echo", 1) == 1
    until(lambda: call(session, "count", "closed"))


def test_a_call_that_comes_while_the_tidier_reads_is_not_left_asleep(session: Session) -> None:
    holding, go_on, poller = threading.Event(), threading.Event(), session.reader.poller

    class Slow:
        def poll(self, timeout: Any = None) -> Any:
            if threading.current_thread() is not tidier:
                return poller.poll(timeout)
            holding.set()
            go_on.wait(PATIENCE)
            return []

    session.reader.poller = Slow()  # type: ignore[assignment]
    tidier = threading.Thread(target=session.tidy)
    tidier.start()
    assert holding.wait(PATIENCE)
    result = in_thread(lambda: call(session, "echo", 1))
    follower = until(lambda: [*session.reader.followers])[0]
    until(lambda: follower.gate is not None and follower.gate.locked())
    go_on.set()
    tidier.join()
    assert result() == 1


def test_what_is_dropped_while_the_socket_is_full_is_told_later(runtime: str) -> None:
    with fake_host(runtime) as host:
        session = Session(host.address)
        filler = wire.frame([wire.PING, b"x" * 1000])
        with contextlib.suppress(BlockingIOError):
            while True:
                session._unsent = filler[session._socket.send(filler, socket.MSG_DONTWAIT) :]
        session.drop("a")
        session.drop("b")
        while (frame := host.receive())[0] == wire.PING:
            session.nudge()
        told = frame[1] + (host.receive()[1] if len(frame[1]) < 2 else [])
        session.close()
        assert told == ["a", "b"]


def test_a_call_that_the_host_can_take_only_once_its_items_are_read_is_no_deadlock(service: Service) -> None:
    with session_with(service, shared_memory=False) as session:
        stream = call(session, "stream", 40, 400_000)
        next(stream)
        until(lambda: all(peer.outlet.unsent > 4_000_000 for peer in service.peers.values()))
        big = np.ones(8_000_000, "u1")
        assert in_thread(lambda: call(session, "total", big))() == big.size
        assert sum(1 for _ in stream) == 39


def test_a_host_that_dies_before_a_long_frame_is_out_ends_the_call(runtime: str) -> None:
    with fake_host(runtime) as host:
        session = Session(host.address, shared_memory=False)
        sending = in_thread(lambda: error_of(lambda: call(session, "total", np.ones(8_000_000, "u1"))))
        host.receive()
        host.close()
        error = sending()
        session.close()
        assert isinstance(error, HostLost)
        assert not error.begun


def test_a_stream_that_failed_before_anybody_looked_gives_its_items_first(runtime: str) -> None:
    with fake_host(runtime) as host:
        session = Session(host.address)
        stream = in_thread(lambda: call(session, "stream"))
        rid = host.receive()[1]
        failure = [wire.FAILURE, rid, "model", "builtins", "ValueError", "item 1", ["item 1"], ""]
        host.send([wire.STREAM, rid], [wire.ITEM, rid, 0], failure)
        items = stream()
        assert next(items) == 0
        with pytest.raises(ValueError, match="item 1"):
            next(items)
        session.close()


# -- blocks ----------------------------------------------------------------------------------------------


class Keeper:
    """Keeps an argument just until its call is being answered."""

    def __init__(self) -> None:
        self.kept: list[Any] = []

    def keep(self, value: Any) -> None:
        self.kept.append(value)


def test_an_argument_let_go_in_the_moment_of_the_reply_is_not_kept_for_ever(
    runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper, finish = Keeper(), Peer._finish

    def late(peer: Peer, call: Call, data: bytes) -> None:
        keeper.kept.clear()
        finish(peer, call, data)

    monkeypatch.setattr(Peer, "_finish", late)
    with serving(runtime, keeper=keeper) as service, session_with(service) as session:
        array = session.empty(1 << 20, "u1")
        call(session, "keep", array, on="keeper")
        del array
        call(session, "echo")
        assert session.channel.requests.live_bytes == 0
        assert not session.channel.lent.early


def test_two_results_are_never_one_array(service: Service) -> None:
    with session_with(service) as session:
        first = call(session, "filled", 1 << 20, 7)
        second = call(session, "echo", first)
        both = call(session, "echo", [first, first])
        second[:] = 9
        both[0][:] = 8
        assert (first == 7).all()
        assert (both[1] == 7).all()


# -- the host --------------------------------------------------------------------------------------------


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


# -- proxies ---------------------------------------------------------------------------------------------


def test_a_proxy_of_a_host_that_does_not_answer_holds_up_nobody_else(
    runtime: str, service: Service, session: Session
) -> None:
    silent = link.listen(os.path.join(runtime, "silent.sock"))
    try:
        with session_with(service) as other:
            elsewhere = ProxyRef("Item", silent.getsockname(), "1", ("get",))
            pending = Pending("echo")
            other.sender.send(other.channel.begin(pending, "probe", (elsewhere,), {}, None))
            asked, _ = silent.accept()
            assert call(session, "echo", 1) == 1
            assert call(other, "echo", 2) == 2
            asked.close()
            silent.close()
            other.reader.wait(pending, None)  # type: ignore[arg-type]
            assert isinstance(pending.error, HostLost)
    finally:
        silent.close()


def test_a_proxy_whose_object_is_gone_fails_its_call_alone(service: Service, session: Session) -> None:
    gone = ProxyRef("Item", service.address, "gone", ("get",))
    with pytest.raises(UnknownObject, match="no object 'gone'"):
        call(session, "echo", gone)
    assert call(session, "echo", 1) == 1


def test_a_frame_in_shared_memory_that_refers_to_itself_ends_that_session_alone(
    service: Service, session: Session
) -> None:
    with session_with(service) as hostile:
        assert hostile.empty(1) is not None  # makes room
        ref, buffer, _ = hostile.channel.requests.place(4096)  # type: ignore[misc]
        frame = wire.frame([wire.SPILL, 1, ref.pack()])
        whole = wire.frame([wire.SPILL, 1, ref._replace(nbytes=len(frame) - wire.LENGTH).pack()])
        buffer[: len(whole) - wire.LENGTH] = whole[wire.LENGTH :]
        hostile.sender.send(whole)
        with pytest.raises(HostLost):
            call(hostile, "echo")
        assert call(session, "echo", 1) == 1


@pytest.mark.parametrize("nbytes", [500_000, 5_000_000, 20_000_000])
def test_long_bytes_arrive_whether_they_are_read_on_the_loop_or_beside_it(service: Service, nbytes: int) -> None:
    sent, items = bytes(nbytes - 1) + b"x", [1] * (nbytes // 10)
    with session_with(service) as session:
        assert call(session, "echo", sent) == sent
        assert call(session, "echo", items) == items


def test_an_object_may_die_of_a_garbage_collection_at_any_moment(service: Service, session: Session) -> None:
    """One that comes while the table of objects is locked, say."""
    ident, exposed = session.control("create", "Item", [1], {})
    cycle: list[Any] = [load_in_host(service, ["Item", service.address, ident, list(exposed), ""])]
    cycle.append(cycle)
    del cycle
    with service.objects._lock:
        gc.collect()
    session.drop(ident)
    until(lambda: session.control("number_of_objects") == 0)


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


def test_a_result_of_a_dtype_that_is_unknown_here_gives_its_block_back(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(data: bytes) -> Any:
        raise Unsupported("dtype bfloat16 needs the package ml_dtypes")

    with session_with(service) as session:
        with monkeypatch.context() as patched:
            patched.setattr(codec, "read_header", unknown)
            for _ in range(3):
                with pytest.raises(CannotCross, match="ml_dtypes"):
                    call(session, "filled", 1 << 20)
            with pytest.raises(CannotCross, match="ml_dtypes"):
                list(call(session, "stream", 3, 100_000))
        call(session, "echo")
        (peer,) = service.peers.values()
        until(lambda: call(session, "echo") is None and peer.room.replies.live_bytes == 0)


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
