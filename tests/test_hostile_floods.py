"""Clients that send much of what would be harmless once: the host's memory, threads and time are not theirs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgpack
import pytest

from sharedmodel import link, wire
from sharedmodel.extensions import BIGINT, PROXY, SET, extension
from sharedmodel.incoming import MAX_CALLS

from .hostile import ARRAY, header, structure
from .raw import PATIENCE, Good, Host, Raw, call, eventually

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


def threads(host: Host) -> int:
    with open(f"/proc/{host.process.pid}/status") as status:
        return int(next(line for line in status if line.startswith("Threads")).split()[1])


def proxy(address: str, exposed: list[str], kind: str = "", rid: int = 1) -> bytes:
    return call(extension(PROXY, msgpack.packb(["Victim", address, "1", exposed, kind])), rid=rid)


def colliding() -> list[bytes]:
    """A set and a dict of ints that all have one hash: a table of them takes minutes to fill."""
    modulus = (1 << 61) - 1
    keys = [extension(BIGINT, (n * modulus).to_bytes(12, "little", signed=True)) for n in range(8, 50_000)]
    tuples = [extension(3, msgpack.packb([key])) for key in keys[:40_000]]
    table = b"".join(msgpack.packb(key) + b"\xc0" for key in keys)
    return [
        call(extension(SET, msgpack.packb(keys))),
        call(extension(SET, msgpack.packb(tuples))),
        wire.framed(b"\x98\x01\x01\xa6victim\xa4echo\x91\xdf" + len(keys).to_bytes(4, "big") + table + b"\x80\xc0\xc0"),
    ]


def test_keys_that_were_chosen_to_collide_are_refused_at_once(host: Host, good: Good) -> None:
    for data in colliding():
        assert len(data) < wire.MAX_FRAME
        with Raw(host.address) as raw:
            raw.send(data)
            good.works()
            assert raw.ended()
    assert host.log.count("protocol error: ") == 3
    assert "same hash" in host.log


def test_large_tables_of_honest_keys_cross(good: Good) -> None:
    modulus = (1 << 61) - 1
    keys = [*range(20_000), *(float(n) for n in range(1000)), *((n, "x") for n in range(5000)), -1, -2]
    keys += [n * modulus for n in range(1, 500)]
    arrived = good.ask("echo", dict.fromkeys(keys, 1), set(keys), {"inner": [frozenset(keys)]})
    assert arrived == (dict.fromkeys(keys, 1), set(keys), {"inner": [frozenset(keys)]})


def test_a_stream_runs_ahead_of_its_reader_by_its_window_only(host: Host, good: Good) -> None:
    with Raw(host.address) as raw:
        raw.send(call(1 << 40, method="count"))
        assert raw.until(wire.STREAM) and raw.survives()
        raw.send(*[wire.frame([wire.CREDIT, 1, 8])] * 50_000)
        assert raw.ended()
    for credit in (0, -1, 1024, 1 << 62, 1.5, None):
        with Raw(host.address) as raw:
            raw.send(call(1 << 40, method="count"))
            assert raw.until(wire.STREAM)
            assert raw.send(wire.frame([wire.CREDIT, 1, credit])).ended()
    with Raw(host.address) as raw:
        raw.send(call(40, method="count"))
        for number in range(40):
            item = raw.until(wire.ITEM)
            assert item is not None and item[2] == number
            raw.send(wire.frame([wire.CREDIT, 1, 1]))
        assert raw.until(wire.REPLY) is not None


def test_calls_without_end_are_refused_from_some_number_on(host: Host, good: Good) -> None:
    with Raw(host.address) as raw:
        raw.send(*[call(method="wait", rid=n) for n in range(MAX_CALLS + 1000)])
        refused = [raw.until(wire.FAILURE) for _ in range(1000)]
        assert {each[1] for each in refused if each} == set(range(MAX_CALLS, MAX_CALLS + 1000))
        assert all(each and each[2] == "overloaded" for each in refused)
        good.works()


def test_names_without_end_leave_no_memory_behind(host: Host, good: Good) -> None:
    def fields(n: int) -> bytes:
        names = [f"{n}-{i}" for i in range(800)]
        many: dict[str, Any] = {"names": names, "formats": ["|u1"] * 800, "offsets": [*range(800)], "itemsize": 800}
        return call(extension(ARRAY, header(structure(**many, titles=[None] * 800), (1,)) + bytes(800)), rid=n)

    floods = [
        lambda n: call(method=f"{n}" * 60_000, rid=n),
        lambda n: call(ident=f"{n}" * 60_000, rid=n),
        lambda n: call(f"{n}" * 60_000, [], {}, ident=0, method="create", rid=n),
        lambda n: wire.frame([wire.DROP, [f"{n}" * 60_000]]),
        lambda n: proxy(host.address, [f"name{n}-{i}" for i in range(2000)], rid=n),
        fields,
    ]
    for flood in floods:
        with Raw(host.address) as raw:
            before = 0
            for n in range(1000, 1400):
                raw.send(flood(n))
                assert raw.survives(), host.log
                before = before or (host.memory if n == 1100 else 0)
            assert host.memory < before + 24 * MB
    assert host.log == ""


def test_a_frame_that_swells_leaves_no_memory_behind(host: Host, good: Good) -> None:
    before = host.memory
    for body in (b"\x90" * (4 * MB), b"\x80" * (2 * MB)):
        with Raw(host.address) as raw:
            raw.send(*wire.parts(1, b"\x98\x01\x01\xa6victim\xa4echo\xdd\x00\x50\x00\x00" + body))
            assert raw.ended()
        good.works()
    assert eventually(lambda: host.memory < before + 48 * MB)
    assert host.log.count("protocol error") == 2


def test_answers_that_nobody_reads_are_not_made_without_end(host: Host, good: Good) -> None:
    before = host.memory
    with Raw(host.address) as raw:
        raw.sock.setblocking(False)
        question = call("x" * 50_000)
        sent = 0
        try:
            while sent < 4000 * len(question):
                sent += raw.sock.send(question)
        except BlockingIOError:
            pass
        good.works()
        assert sent < 20 * MB
        assert host.memory < before + 64 * MB


def test_calls_that_block_hold_up_neither_the_others_nor_the_end(host: Host, good: Good) -> None:
    with Raw(host.address) as raw:
        raw.send(*[call(method="wait", rid=n) for n in range(2000)])
        assert raw.survives()
        good.works()
        with Raw(host.address) as other:
            assert other.ask(1, method="filled")[0] == wire.REPLY
    assert eventually(lambda: good.session.control("status")["sessions"][-1]["calls"] <= 1)
    assert len(good.session.control("status")["sessions"]) == 1
    assert host.log == ""


def test_a_proxy_of_a_host_that_never_answers_holds_up_its_own_call_only(host: Host, good: Good, runtime: str) -> None:
    silent = link.listen(f"{runtime}/silent.sock")
    with Raw(host.address) as raw:
        raw.send(*[proxy(f"{runtime}/silent.sock", ["add"], rid=n) for n in range(3)])
        silent.settimeout(PATIENCE)
        connection, _ = silent.accept()
        assert raw.survives()
        for _ in range(20):
            good.works()
        connection.close()
    silent.close()


def test_what_a_proxy_lives_by_is_not_forwarded_whatever_is_said_to_be_exposed(host: Host, good: Good) -> None:
    names = [
        "__del__",
        "__init__",
        "__new__",
        "__class__",
        "__reduce__",
        "__getattr__",
        "_session",
        "_callmethod",
        "add",
    ]
    for address in (host.address, "/nowhere", ""):
        with Raw(host.address) as raw:
            for rid, kind in enumerate(("", "os:path", "sharedmodel.proxy:BaseProxy")):
                raw.send(proxy(address, names, kind, rid))
                assert raw.survives()
    with Raw(host.address) as raw:
        created = raw.ask("Victim", [], {}, ident=0, method="create", rid=3)[2]
        ident = msgpack.unpackb(created.data)[0]
        mine = extension(PROXY, msgpack.packb(["Victim", host.address, ident, names, ""]))
        echoed = raw.ask(mine, rid=4)[2]
        (back,) = msgpack.unpackb(echoed.data, ext_hook=msgpack.ExtType)
        assert msgpack.unpackb(back.data) == ["Victim", host.address, ident, ["add"], ""]
    assert host.log == ""


def test_connections_without_end_or_word_leave_nothing_behind(host: Host, good: Good) -> None:
    good.works()
    descriptors, most = host.descriptors, threads(host)
    for data in (b"", b"\x40\0\0\0half a frame"):
        crowd = [Raw(host.address, greeted=False).send(data) for _ in range(400)]
        good.works()
        for raw in crowd:
            raw.sock.close()
        assert eventually(lambda: host.descriptors <= descriptors)
    assert threads(host) < most + 50
    assert host.log == ""
