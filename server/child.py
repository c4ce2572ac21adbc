"""The host as its supervisor sees it: a process, the socket it reports on, and how it ended."""

from __future__ import annotations

import os
import resource  # noqa: F401  os.wait4 imports it at its first use, for which there may be no descriptor left then
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from sharedmodel import wire
from sharedmodel.errors import ProtocolError
from sharedmodel.process import watched

from . import messages
from .boot import Boot
from .death import Death, cause_of, reason, unexplained
from .journal import Journal
from .loads import loads
from .machine.oom import Recent
from .messages import Messages

Report = Callable[[int, list[Any]], None]


class Child:
    """One host process."""

    def __init__(self, boot: Boot) -> None:
        """Starts it. ``boot`` has everything but the lifeline, which is made here.

        Raises OSError where the machine has no process or descriptor left for it.
        """
        self.started = time.monotonic()
        self.since = time.time()
        self.serving = False
        self.settled = False
        self._told_models = 0  # times
        self.states: dict[str, Any] = {}
        self.wanted = ""  # why its supervisor ends it
        self.fault = ""  # why it is to be killed, where it does not do its work any more
        self.silent = False  # and that it may be kept from it by a call
        self._fatal = ""
        self._heard = False  # to its end
        ours, theirs = socket.socketpair()
        self._tether, held = socket.socketpair()  # see `tether`
        boot = boot._replace(lifeline=theirs.fileno(), tether=held.fileno())
        stdin = boot.to_file()
        try:
            # Its own process group: Ctrl-C is for the supervisor, and its children end with it.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "sharedmodel.server.host", boot.directory, *filter(None, [boot.name])],
                stdin=stdin,
                pass_fds=boot.descriptors,
                env=boot.settings.environment(),
                process_group=0,
            )
            self.pid = self._process.pid
            self.pidfd = watched(self._process)
        except BaseException:
            ours.close()
            self._tether.close()
            raise
        finally:
            theirs.close()
            held.close()
            os.close(stdin)
        ours.setblocking(False)  # one host that does not read must not hold up the others
        self.lifeline = Messages(ours)
        self._selector: selectors.BaseSelector | None = None
        self._unsent: dict[int, bytes] = {}  # by kind
        self._sending = memoryview(b"")

    def watch(self, selector: selectors.BaseSelector, died: Callable[[], None], report: Report) -> None:
        """Have ``died`` called at its end and ``report`` for each message that is not kept here."""
        self._selector = selector
        self._ready = lambda: self._exchange(selector, report)
        selector.register(self.pidfd, selectors.EVENT_READ, died)
        selector.register(self.lifeline.sock, selectors.EVENT_READ, self._ready)

    # -- what is said ----------------------------------------------------------------------------------

    def tell(self, kind: int, *values: Any) -> bool:
        """Say something to it, now or when it reads again: of each kind what was said last. False at its end."""
        self._unsent[kind] = wire.frame([kind, *values])
        self._send()
        return not self._heard

    def tell_models(self, models: dict[str, Any], elsewhere: dict[str, Any]) -> bool:
        """Say which models it serves from now on, and where others are; when it has settled it says so again."""
        self._told_models += 1
        self.settled = False
        return self.tell(messages.MODELS, models, self._told_models, elsewhere)

    def _send(self) -> None:
        if self._heard or self._selector is None:
            return
        waits = False
        try:
            while self._sending or self._unsent:
                if not self._sending:
                    self._sending = memoryview(self._unsent.pop(next(iter(self._unsent))))
                self._sending = self._sending[self.lifeline.sock.send(self._sending) :]
        except BlockingIOError:
            waits = True
        except OSError:  # its end is told by its process
            self._unsent.clear()
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if waits else 0)
        if self._selector.get_key(self.lifeline.sock).events != wanted:
            self._selector.modify(self.lifeline.sock, wanted, self._ready)

    def _exchange(self, selector: selectors.BaseSelector, report: Report) -> None:
        self._send()
        self._read(selector, report)

    def _read(self, selector: selectors.BaseSelector, report: Report) -> bool:
        """Whether anything came."""
        if self._heard:
            return False  # reaped by an event of the same round
        try:
            received = self.lifeline.receive()
        except ProtocolError as exc:
            self.fault = self.fault or f"told its supervisor what can't be read: {exc}"
            self.kill()
            received = None
        if received is None:
            self._heard = True
            selector.unregister(self.lifeline.sock)
        for kind, *values in received or ():
            self._note(kind, values)
            report(kind, values)
        return bool(received)

    def _note(self, kind: int, values: list[Any]) -> None:
        if kind == messages.SERVING:
            self.serving = True
        elif kind == messages.SETTLED:
            self.settled = values[0] == self._told_models  # not with those before: that was under way
        elif kind == messages.STATES:
            self.states = values[0]
        elif kind == messages.FATAL:
            self._fatal = values[0]

    def terminate(self, why: str) -> None:
        """Ask it to end, its running calls first."""
        self.wanted = self.wanted or why
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it, and what it started."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        try:
            signal.pidfd_send_signal(self.pidfd, number)
        except ProcessLookupError:
            pass

    @property
    def serves(self) -> bool:
        """Whether it has come to serve, some of its models at least."""
        return self.settled or any(told["state"] == "ready" for told in self.states.values())

    def reap(self, selector: selectors.BaseSelector, journal: Journal, recent: Recent) -> Death:
        """How it ended. Its process is over."""
        self.kill()  # what it forked and left; its group's number is not free before it is reaped
        self._drain(selector)
        selector.unregister(self.pidfd)
        _, status, usage = os.wait4(self.pid, 0)
        code = self._process.returncode = os.waitstatus_to_exitcode(status)
        os.close(self.pidfd)
        self._tether.close()
        self.lifeline.close()
        kills = recent.kills(peak := usage.ru_maxrss * 1024)
        why = self.fault or reason(code, self._fatal, kills, peak)
        for stage, doing in (("loading", "loading"), ("warming", "warming up")):
            if names := loads(self.states, stage):
                why += f", while it was {doing} {', '.join(names)}"
        wanted = bool(self.wanted)
        lived = time.monotonic() - self.started
        known = wanted or (bool(self.fault) and not self.silent)
        suspicious = not known and (self.silent or unexplained(code, kills))
        executing = [] if known else journal.executing()
        return Death(
            time.time(), lived, self.pid, code, self.serves, self.wanted or why, wanted, executing,
            outside=not known and not suspicious,
            cause=cause_of(code, kills, wanted=wanted, fault=bool(self.fault)),
            loading=loads(self.states) if suspicious else (),
        )  # fmt: skip

    def _drain(self, selector: selectors.BaseSelector) -> None:
        # Its last words may still be in the socket, which something that it started may still have open.
        while self._read(selector, lambda kind, values: None):
            pass
        if not self._heard:
            self._heard = True
            selector.unregister(self.lifeline.sock)
