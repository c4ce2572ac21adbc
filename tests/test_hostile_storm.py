"""A hundred thousand hostile frames, each of which is known to have been looked at."""

from __future__ import annotations

import itertools
import re
import socket
from collections.abc import Iterator

import pytest

from sharedmodel import handshake, wire
from sharedmodel.repeats import FEW

from .raw import PATIENCE, Good, Host, eventually, unpacked
from .storm import frames

GENERATED = 100_000
WAVE = 64  # connections at once
BATCH = 8  # frames a connection
_LINE = re.compile(r"WARNING ((?P<more>\d+) more in \d+ s; the last: )?session of .* is ended: protocol error: .*")
HELLO = handshake.hello(True, bytes(32))


@pytest.fixture
def host(runtime: str) -> Iterator[Host]:
    host = Host(runtime, FEW)
    yield host
    host.stop()


class Attacker:
    """A connection that sends its frames, a ping after each, and learns which one ended it."""

    def __init__(self, address: str, batch: list[bytes]) -> None:
        self.batch = batch
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(address)
        data = [wire.framed(payload) + wire.frame([wire.PING, [n]]) for n, payload in enumerate(batch)]
        self.sock.sendall(HELLO + b"".join(data))

    def outcome(self) -> tuple[int, bool]:
        """How many of its frames were looked at, and whether the last of those ended the session."""
        framer, looked_at = wire.Framer(), 0
        with self.sock:
            while looked_at < len(self.batch):
                try:
                    data = self.sock.recv(1 << 16)
                except ConnectionResetError:
                    data = b""
                if not data:
                    return looked_at + 1, True
                for payload in framer.feed(data):
                    if payload[:2] == b"\x92\x0f" and unpacked(payload)[1] == [looked_at]:
                        looked_at += 1
        return looked_at, False


def wave(address: str, queue: list[bytes], good: Good) -> tuple[int, int]:
    """Send what is in the queue's front; how many frames were looked at, and how many sessions they ended."""
    batches = [queue[n : n + BATCH] for n in range(0, WAVE * BATCH, BATCH)]
    del queue[: WAVE * BATCH]
    attackers = [Attacker(address, batch) for batch in batches]
    good.works()
    looked_at = ended = 0
    for attacker in attackers:
        count, over = attacker.outcome()
        queue += attacker.batch[count:]
        looked_at, ended = looked_at + count, ended + over
    return looked_at, ended


def told(host: Host) -> list[int]:
    """Of how many ended sessions each line of the log tells, of which all breached the rules; the host is stopped."""
    host.stop()
    found = [_LINE.fullmatch(line) for line in host.log.splitlines()]
    assert all(found), host.log[-3000:]
    return [int(line["more"] or 1) for line in found if line is not None]


def test_a_hundred_thousand_frames_end_their_own_sessions_and_disturb_nobody(host: Host) -> None:
    good = Good(host.address)
    source, queue = frames(20260), list[bytes]()
    looked_at = ended = before = descriptors = 0
    while looked_at < GENERATED:
        queue += itertools.islice(source, WAVE * BATCH - len(queue))
        one, two = wave(host.address, queue, good)
        looked_at, ended = looked_at + one, ended + two
        assert host.alive
        if not before and looked_at > GENERATED // 5:
            before, descriptors = host.memory, host.descriptors
    assert GENERATED // 10 < ended < GENERATED, "some breach the rules, some do not"
    good.works()
    assert host.memory < before + (24 << 20)
    assert host.descriptors < descriptors + WAVE
    assert len(good.session.control("status")["sessions"]) == 1
    good.close()
    assert sum(told(host)) == ended, "each is counted"
    assert told(host)[:FEW] == [1] * FEW, "the first have a line each"
    assert len(told(host)) < FEW + 20, "and the others one a minute"


def test_pieces_and_proxies_gone_wrong_disturb_nobody_either(host: Host) -> None:
    good = Good(host.address)
    queue = [*itertools.islice(frames(20261, later=True), GENERATED // 30)]
    while queue:
        wave(host.address, queue, good)
    assert eventually(lambda: len(good.session.control("status")["sessions"]) == 1)
    good.works()
    good.close()
    assert sum(told(host)) > FEW
