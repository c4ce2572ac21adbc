"""Clients that die. Each says where it has come to, and dies when it is told to."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from typing import Any

from sharedmodel.errors import HostLost
from sharedmodel.pending import Pending
from sharedmodel.proxy import AutoProxy, Token, granted
from sharedmodel.session import Session
from sharedmodel.sessions import SESSIONS

from .crowd import listen, probe, say


def item(address: str, payload: Any = None) -> Any:
    """A proxy to a new `Item`."""
    ident, exposed = SESSIONS.current(address).control("create", "Item", [payload], {})
    return granted(AutoProxy, Token("Item", address, ident), exposed=exposed)


def begin(session: Session, method: str, *args: Any) -> int:
    """Send a call and do not wait for it; its number."""
    pending = Pending(method)
    session.sender.send(session.channel.begin(pending, "probe", args, {}, None))
    return pending.rid


def die(how: str) -> None:
    if how == "SIGKILL":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "exit":
        os._exit(3)
    elif how == "sys.exit":
        sys.exit(3)
    raise RuntimeError(how)


def client(address: str, stage: str, how: str) -> None:
    """Holds proxies, arrays and results, and goes to a stage of a call."""
    session = SESSIONS.current(address)
    holdings = [item(address), item(address, "x"), session.empty(3_000_000, "u1"), probe(address).filled(4_000_000)]
    assert holdings[2] is not None
    say(stage)
    listen()
    if stage == "queued":
        begin(session, "total", holdings[2])
    elif stage == "in the model":
        waiting = threading.Thread(target=probe(address).wait, daemon=True)
        waiting.start()
    elif stage == "in the reply":
        begin(session, "filled", 9_000_000)
        begin(session, "stream", 100, 300_000)
    say("there")
    listen()
    die(how)


def with_a_child(address: str) -> None:
    """Forks a child that keeps its socket open and does not know of it."""
    holdings = [item(address), probe(address).filled(4_000_000)]
    session = SESSIONS.current(address)
    kept = os.dup(session._socket.fileno())
    child = os.fork()
    if child == 0:
        os.set_inheritable(kept, True)
        os.execv(sys.executable, [sys.executable, "-c", "import signal; signal.pause()"])
    say(child)
    listen()
    del holdings
    die("SIGKILL")


def caller(address: str) -> None:
    """Calls until the host is gone; says how that was told and how soon after its last answer."""
    target = probe(address)
    target.echo(0)
    say("calls")
    answered = time.monotonic()
    with contextlib.suppress(HostLost):
        while True:
            target.echo(1)
            answered = time.monotonic()
    say("HostLost" if time.monotonic() - answered < 5 else "late")


def interrupted(address: str) -> None:
    """Gets a Ctrl-C in a call that waits; its session and proxies work afterwards."""
    target, own = probe(address), item(address, "mine")
    session = SESSIONS.current(address)
    say("waits")
    start = time.monotonic()
    try:
        target.wait()
    except KeyboardInterrupt:
        say("KeyboardInterrupt" if time.monotonic() - start < 10 else "late")
    say(own.get())
    say(target.add(1, 2))
    say(SESSIONS.current(address) is session)


def interrupted_often(address: str, times: int) -> None:
    """Gets many of them in the middle of quick calls."""
    target = probe(address, timeout=10)
    target.echo()
    say("ready")
    seen = 0
    while seen < times:
        try:
            say("again")
            while True:
                target.add(1, 2)
        except KeyboardInterrupt:
            seen += 1
            assert target.add(seen, 0) == seen
    say("done")


def interrupted_in_sending(address: str) -> None:
    """Gets a Ctrl-C while the socket takes no more of a long frame."""
    own = item(address, "mine")
    SESSIONS.close(address)
    SESSIONS.remember(address, shared_memory=False)
    own = item(address, "mine")
    session = SESSIONS.current(address)
    say("ready")
    listen()
    say("sends")
    try:
        probe(address).echo("x" * 3_000_000)
    except KeyboardInterrupt:
        say("KeyboardInterrupt")
    say(own.get())
    say(SESSIONS.current(address) is session)
