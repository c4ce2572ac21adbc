"""What happens in the worst order, at the client and to blocks: each of these once hung, leaked or ended too much."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from typing import Any

import numpy as np
import pytest

from sharedmodel import decoder, link, wire
from sharedmodel.call import Call
from sharedmodel.errors import CannotCross, HostLost
from sharedmodel.peer import Peer
from sharedmodel.roots import Root, Roots
from sharedmodel.service import Service
from sharedmodel.session import Session
from sharedmodel.tensor import TensorRef, Unsupported

from .crowd import until
from .fake_host import fake_host
from .inside import PATIENCE, call, error_of, in_thread, serving, session_with


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


def test_an_interrupt_between_a_read_and_its_use_ends_the_session_and_leaves_nobody_waiting(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = link.Inbox.take

    def interrupted(inbox: link.Inbox) -> Any:
        take(inbox)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(link.Inbox, "take", interrupted)
        with pytest.raises(KeyboardInterrupt):
            call(session, "echo", 1)
    assert not session.alive
    assert isinstance(error_of(lambda: call(session, "echo", 1)), HostLost)


def test_a_session_closed_as_a_caller_is_about_to_poll_leaves_it_no_strange_socket_to_wait_for(
    service: Service,
) -> None:
    about, go = threading.Event(), threading.Event()
    with session_with(service) as session:
        poller, number = session.reader.poller, session._socket.fileno()

        class Poller:
            def poll(self, timeout: int | None = None) -> Any:
                about.set()
                assert go.wait(PATIENCE)
                return poller.poll(timeout)

        session.reader.poller = Poller()  # type: ignore[assignment]
        ended = in_thread(lambda: error_of(lambda: session.call("probe", "wait", (), {})))
        assert about.wait(PATIENCE)
        session.close()
        with contextlib.ExitStack() as others:
            for end in (end for _ in range(8) for end in socket.socketpair()):
                others.enter_context(end)
            go.set()
            assert isinstance(ended(), HostLost)
        with pytest.raises(OSError):
            os.fstat(number)


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
    keeper, ended = Keeper(), Peer._ended

    def late(peer: Peer, call: Call) -> None:
        keeper.kept.clear()
        ended(peer, call)

    monkeypatch.setattr(Peer, "_ended", late)
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


def test_a_result_of_a_dtype_that_is_unknown_here_gives_its_block_back(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(data: bytes) -> Any:
        raise Unsupported("dtype bfloat16 needs the package ml_dtypes")

    with session_with(service) as session:
        with monkeypatch.context() as patched:
            patched.setattr(decoder, "read_header", unknown)
            for _ in range(3):
                with pytest.raises(CannotCross, match="ml_dtypes"):
                    call(session, "filled", 1 << 20)
            with pytest.raises(CannotCross, match="ml_dtypes"):
                list(call(session, "stream", 3, 100_000))
        call(session, "echo")
        (peer,) = service.peers.values()
        until(lambda: call(session, "echo") is None and peer.room.replies.live_bytes == 0)


class Signaller:
    """Interrupts its caller in mid-call."""

    def __init__(self) -> None:
        self.handled = threading.Event()

    def interrupt(self) -> bool:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        return self.handled.wait(PATIENCE)


def test_a_call_in_the_middle_of_another_of_the_same_thread_is_an_error_and_no_hang(runtime: str) -> None:
    signaller, errors = Signaller(), []
    with serving(runtime, signaller=signaller) as service, session_with(service) as session:

        def handler(*_: object) -> None:
            errors.append(error_of(lambda: call(session, "echo", 1)))
            signaller.handled.set()

        before = signal.signal(signal.SIGUSR1, handler)
        try:
            assert call(session, "interrupt", on="signaller")
        finally:
            signal.signal(signal.SIGUSR1, before)
        assert type(errors[0]) is RuntimeError and "in another thread" in str(errors[0])
        assert call(session, "echo", 2) == 2


@pytest.mark.parametrize("way", ["send", "nudge"])
def test_a_call_in_the_middle_of_sending_by_the_same_thread_is_an_error_too(session: Session, way: str) -> None:
    class Finalized:
        def __del__(self) -> None:
            errors.append(error_of(lambda: call(session, "echo", 1)))

    class Flushing:
        frames = ()

        def put(self, frame: Any) -> None:
            pass

        def remove(self, frame: Any) -> None:
            assert not frame[1]

        def flush(self) -> bool:
            held.clear()
            return True

    errors: list[Any] = []
    held, outbox = [Finalized()], session.sender._outbox
    session.sender._outbox = Flushing()  # type: ignore[assignment]
    session.sender.send(b"") if way == "send" else session.sender.nudge()
    session.sender._outbox = outbox
    assert type(errors[0]) is RuntimeError and "in another thread" in str(errors[0])
    assert call(session, "echo", 2) == 2


@pytest.mark.parametrize("who", ["who reads", "who follows"])
def test_each_call_of_a_session_that_ends_has_an_error_of_its_own_with_its_number(who: str, runtime: str) -> None:
    with fake_host(runtime) as host:
        session = Session(host.address)
        first = in_thread(lambda: error_of(lambda: call(session, "wait")))
        rids = [host.receive()[1]]
        until(session.reader.lock.locked)
        second = in_thread(lambda: error_of(lambda: call(session, "wait")))
        rids.append(host.receive()[1])
        until(lambda: [*session.reader.followers])
        if who == "who follows":
            host.socket.shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]
        else:  # who loses it has not woken anybody yet, but one wakes by himself
            session.channel.lose(HostLost("went away"))
            session._socket.shutdown(socket.SHUT_RDWR)
        errors: list[Any] = [first(), second()]
        session.close()
        assert [(type(error), error.request, error.begun) for error in errors] == [
            (HostLost, rid, True) for rid in rids
        ]
        assert errors[0] is not errors[1]


def test_a_call_that_left_before_the_host_died_is_not_taken_for_one_that_did_not(runtime: str) -> None:
    with fake_host(runtime) as host:
        session = Session(host.address)
        real, outbox = session.sender._outbox._send, session.sender._outbox

        def send(data: Any, flags: int) -> int:
            """The host dies just when it has the call, and another thread has something to say."""
            sent = real(data, flags)
            host.close()
            outbox.put(link.outgoing(wire.frame([wire.CANCEL, 99])))
            outbox._send = real
            return sent

        outbox._send = send
        error = error_of(lambda: call(session, "echo", 1))
        session.close()
        assert isinstance(error, HostLost) and error.begun and error.request


def test_a_session_that_is_closed_while_its_socket_takes_no_more_ends_the_call_as_lost(runtime: str) -> None:
    with fake_host(runtime) as host:
        session = Session(host.address, shared_memory=False)
        await_room = session.reader.await_room

        def held_up(end: float | None) -> None:
            session.close()
            await_room(end)

        session.reader.await_room = held_up  # type: ignore[method-assign]
        error = error_of(lambda: call(session, "total", np.ones(8_000_000, "u1")))
        assert isinstance(error, HostLost)


def test_an_array_that_took_a_dead_ones_number_is_not_buried_with_it() -> None:
    roots, arrays = Roots(), [np.ones(3) for _ in range(3)]
    dead, other, new = (Root(array, roots._mourn) for array in arrays)
    dead.key, dead.ref = 1, TensorRef(0, 0, 8, 5)

    class Busy(dict[int, Root]):
        """Another thread adds the new array just when the dead one's entry was looked at."""

        def get(self, key: int, default: Any = None) -> Any:
            found = super().get(key, default)
            self[key] = new
            return found

        def pop(self, key: int, default: Any = None) -> Any:  # type: ignore[override]
            found = super().pop(key, default)
            self[key] = new
            return found

    for before, after in (({1: dead}, {}), ({1: other}, {1: other}), (Busy({1: dead}), {1: new})):
        roots.by_id = before
        roots.dead.append(dead)
        assert roots.bury() == [5] and roots.by_id == after


def test_credit_for_a_stream_that_has_just_been_given_up_breaks_no_rule(service: Service, session: Session) -> None:
    beside = in_thread(lambda: call(session, "wait"))
    stream = call(session, "stream", 1 << 30, 10)
    (peer,) = service.peers.values()
    until(lambda: len(peer.calls) == 2)
    session.cancel(stream._waiter)
    for _ in range(4):
        session.sender.credit(stream._waiter, 8)
    call(session, "open")
    assert beside() == "gate"


class Gathering:
    """A schedule that fails."""

    methods, gathers, brief = frozenset({"echo"}), True, False

    def admit(self, *calls: Any) -> None:
        raise AssertionError("nobody is here")


def test_a_schedule_that_fails_to_take_a_call_in_fails_the_call(service: Service, session: Session) -> None:
    old = service.objects.get("probe")
    old.schedule = Gathering()
    assert isinstance(error_of(lambda: call(session, "echo", 5)), AssertionError)
    old.schedule = None
    assert call(session, "echo", 5) == 5
