"""Hostile clients one by one: the session that breaks the rules ends, and nothing else does."""

from __future__ import annotations

import os
import pickle
import socket
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest

from sharedmodel import handshake, wire
from sharedmodel.extensions import PROXY, extension
from sharedmodel.tensor import TensorRef

from .hostile import ENDS, HUGE, STAYS, U8, header, ref
from .raw import Good, Host, Raw, call, eventually, tensor

MB = 1 << 20


@pytest.fixture
def host(runtime: str) -> Iterator[Host]:
    host = Host(runtime)
    yield host
    host.stop()


@pytest.fixture
def good(host: Host) -> Iterator[Good]:
    good = Good(host.address)
    yield good
    good.works()
    good.close()


def test_each_breach_ends_its_session_with_one_line_in_the_log(host: Host, good: Good) -> None:
    for what, data in ENDS.items():
        with Raw(host.address) as raw:
            assert raw.send(data).ended(), what
        good.works()
    lines = host.log.splitlines()
    reasons = [line.partition("is ended: ")[2] for line in lines]
    assert all(reason.startswith("protocol error: ") for reason in reasons), reasons
    assert len(lines) == len(ENDS)
    assert max(map(len, lines)) < 400


def test_nonsense_that_breaks_no_rule_is_answered_and_the_session_goes_on(host: Host, good: Good) -> None:
    for what, data in STAYS.items():
        with Raw(host.address) as raw:
            assert raw.send(data).survives(), what
            assert raw.ask(1, 2, rid=2)[:2] == [wire.REPLY, 2]
    assert host.log == ""


def test_nothing_but_a_greeting_is_heard_before_the_greeting(host: Host, good: Good) -> None:
    greetings = [
        wire.frame([wire.HELLO]), wire.frame([wire.HELLO, 1, 1, {}, b"", 1]), wire.frame([wire.HELLO, "", "", {}, b""]),
        wire.frame([wire.HELLO, 2, 9, {}, b""]), wire.frame([wire.HELLO, 1, 1, [], b""]),
        wire.frame([wire.HELLO, 1, 1, {}, "x"]), wire.frame([wire.HELLO, None, [], {}, b""]),
        call(extension(PROXY, msgpack.packb(["t", "/nowhere", "1", [], ""]))), wire.frame([wire.PING, 1]),
    ]  # fmt: skip
    hello = handshake.hello(True, bytes(32))
    cases = [*greetings, *(data for data in (ENDS | STAYS).values() if data != hello)]
    for data in cases:
        with Raw(host.address, greeted=False) as raw:
            assert raw.send(data).ended()
    assert len(host.log.splitlines()) == len(cases)
    assert "a fault of the host" not in host.log


def test_half_a_frame_and_a_silent_end_disturb_nobody(host: Host, good: Good) -> None:
    for data in (b"", b"\x10", wire.framed(bytes(1000))[:500], handshake.hello(True, b"")[:-1]):
        for greeted in (True, False):
            with Raw(host.address, greeted=greeted) as raw:
                raw.send(data)
    good.works()
    assert host.log == ""


def test_references_are_good_inside_the_sessions_own_segments_only(host: Host, good: Good) -> None:
    with Raw(host.address) as neighbour:
        for _ in range(3):
            foreign, _ = neighbour.grow(MB)
        bad = [
            (U8, lambda n, size: ref(n, size - 63)),
            (U8, lambda n, size: ref(n, size)),
            (U8, lambda n, size: ref(n, HUGE - 63)),
            (U8, lambda n, size: ref(n, HUGE, 64)),
            (U8, lambda n, size: ref(n, 0, 63)),
            (U8, lambda n, size: ref(n, 0, HUGE)),
            (header("|u1", (1 << 40,)), lambda n, size: ref(n, 0, 1 << 40)),
            (U8, lambda n, size: ref(0)),
            (U8, lambda n, size: ref((1 << 32) - 1)),
            (U8, lambda n, size: ref(foreign)),
        ]
        for head, place in bad:
            with Raw(host.address) as raw:
                number, memory = raw.grow(MB)
                assert number != foreign
                memory[:64] = bytes(range(64))
                whole = raw.ask(tensor(U8, ref(number)), method="total")
                assert whole == [wire.REPLY, 1, float(sum(range(64)))]
                odd = raw.ask(tensor(header("<f8", (8,)), ref(number, MB - 65)), method="total", rid=2)
                assert odd[0] == wire.REPLY
                assert raw.send(call(tensor(head, place(number, len(memory))))).ended()
    assert host.log.count("protocol error") == len(bad) == len(host.log.splitlines())


def test_a_reply_that_was_not_lent_can_be_neither_read_nor_given_back(host: Host, good: Good) -> None:
    lent = good.ask("filled", MB)
    with Raw(host.address) as other:
        head = header("|u1", (MB,))
        answer = other.ask(MB, method="filled")
        block = TensorRef.unpack(answer[2].data, len(head))
        again = other.ask(tensor(head, block), method="total", rid=2)
        assert again == [wire.REPLY, 2, 7.0 * MB]
        assert other.send(wire.frame([wire.RELEASE, [block.block]])).survives()
        assert other.send(call(tensor(head, block))).ended()
    assert (lent == 7).all()


def test_what_lies_in_shared_memory_instead_of_a_frame_is_bound_by_the_same_rules(host: Host, good: Good) -> None:
    def spilled(payload: bytes) -> bytes:
        memory[: len(payload)] = payload
        return wire.frame([wire.SPILL, 1, ref(number, 0, len(payload)).pack()])

    payloads = [
        lambda: msgpack.packb([wire.SPILL, 1, ref(number, 0, 60).pack()]).ljust(60, b"\0"),
        lambda: msgpack.packb([wire.HELLO, 1, 1, {}, b""]),
        lambda: pickle.dumps([1, 2]),
        lambda: b"\x90" * MB,
        lambda: b"\xdd\x00\xff\xff\xff" * (MB // 5),
        lambda: pickle.dumps(bytes(3 * MB)),
        lambda: b"\x98\x01\x01\xa6victim\xa4echo\xdd\x00\x30\x00\x00" + b"\x90" * (3 * MB),
    ]
    for payload in payloads:
        with Raw(host.address) as raw:
            number, memory = raw.grow(8 * MB)
            raw.send(spilled(call("fine")[wire.LENGTH :]))
            assert raw.until(wire.REPLY) is not None
            assert raw.send(spilled(payload())).ended()
            good.works()
    with Raw(host.address) as raw:  # a frame that refers to itself
        number, memory = raw.grow(MB)
        frame = wire.frame([wire.SPILL, 1, ref(number, 0, 33).pack()])
        assert len(frame) == 33 + wire.LENGTH
        memory[:33] = frame[wire.LENGTH :]
        assert raw.send(frame).ended()
    assert host.log.count("protocol error") == len(payloads) + 1 == len(host.log.splitlines())


def test_nothing_that_comes_is_unpickled(host: Host, good: Good, tmp_path: Any) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "sprung"),)

    for protocol in range(6):
        trap = pickle.dumps(Trap(), protocol)
        for data in (trap, wire.framed(trap), wire.frame([wire.PART, 1, True, trap]), wire.frame([trap])):
            for greeted in (True, False):
                with Raw(host.address, greeted=greeted) as raw:
                    raw.send(data)
                    raw.sock.shutdown(socket.SHUT_WR)
                    assert raw.ended()
        with Raw(host.address) as raw:
            assert raw.ask(trap) == [wire.REPLY, 1, msgpack.ExtType(3, msgpack.packb([trap]))]
            raw.send(call("Victim", [trap], {}, ident=0, method="create", rid=2))
            raw.send(call(extension(10, header("|V1", (len(trap),)) + trap), rid=3))
            assert raw.survives()
    assert not (tmp_path / "sprung").exists()
    pickle.loads(trap)
    assert (tmp_path / "sprung").exists()


def test_descriptors_that_are_sent_along_are_not_kept(host: Host, good: Good) -> None:
    with Raw(host.address) as raw:
        raw.survives()
        before = host.descriptors
        for n in range(300):
            socket.send_fds(raw.sock, [wire.frame([wire.PING, n])], [0, 1, 2])
            raw.until(wire.PONG)
        assert host.descriptors == before
    assert eventually(lambda: host.descriptors < before)
