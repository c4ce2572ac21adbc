"""The storm itself: what is killed when, and what is watched meanwhile.

    server + 8 clients ─► calm: what do they hold? ─► clients, kills ─► calm: the same? ─► stop

A seed gives the same victims in the same order, with the same pauses.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from . import cast, holdings
from .cast import HOSTS, Client, Server
from .holdings import Holdings
from .record import CALLS, CLIENTS, FAILED, WRONG, Record
from .toll import Toll

HANG: Final = 90.0  # seconds; no answer takes as long, on however busy a machine
PATIENCE: Final = 120.0
LOOK: Final = 0.005
MOST_IN_VAIN: Final = 4
CRASHES: Final = 0.05  # of the kills of hosts, by a signal that makes suspects of the calls


class Storm:
    """Kills hosts and clients of a server of its own, in a directory that is empty."""

    def __init__(self, directory: str, kills: int, pause: float, seed: int) -> None:
        """``pause``: seconds between two kills, on average."""
        self._kills, self._pause = kills, pause
        self._random = random.Random(seed)
        self._toll = Toll(seed)
        self._names = holdings.names()
        path = os.path.join(directory, "record")
        self._record = Record(path, new=True)
        self._said = Path(directory, "clients.log")
        self._log = self._said.open("wb")
        self._server = Server(directory)
        address = self._server.place.host
        self._clients = [Client(number, address, path, seed, self._log) for number in range(CLIENTS)]
        self._out: dict[str, tuple[int, int]] = {}  # hosts that were killed: when, and which process
        self._vain: dict[str, int] = {}  # how often since they answered last

    def run(self) -> Toll:
        """The whole of it. Raises TimeoutError, with all that is known, where it comes to a standstill."""
        try:
            self._act()
        finally:
            for client in self._clients:
                client.kill()
            self._close()
        return self._toll

    def _act(self) -> None:
        self._until(lambda: self._server.state() == "ready", "the server is not ready")
        self._start_clients()
        self._end_clients()
        before = self._settled(None)
        self._start_clients()
        resident = 0
        for number in range(self._kills):
            self._wait(self._random.expovariate(1 / self._pause))
            self._strike()
            if number == self._kills // 5:  # what it needs once it needs by then
                resident = holdings.resident(self._server.process.pid)
        self._all_answered()
        self._until(lambda: not self._out, "some hosts do not answer")
        self._toll.grown = holdings.resident(self._server.process.pid) - resident
        self._end_clients()
        self._settled(before)

    def _close(self) -> None:
        self._log.close()
        toll, record = self._toll, self._record
        calls, wrong, failed = (sum(record.of_lanes(word)) for word in (CALLS, WRONG, FAILED))
        toll.calls, toll.wrong, toll.failed, toll.slowest = calls, wrong, failed, record.slowest
        if code := self._server.end():
            toll.notes.append(f"the server ended with exit code {code}:\n{self._server.log[-4000:]}")
        toll.leaks += [f"name {name} after the end" for name in holdings.names() - self._names]
        if not toll.clean:
            toll.notes.append(f"the clients say:\n{self._said.read_text(errors='replace')[-6000:]}")
            toll.notes.append(f"the server says:\n{self._server.log[-6000:]}")

    # -- kills -----------------------------------------------------------------------------------------

    def _strike(self) -> None:
        if self._random.random() < 0.5:
            self._strike_client(self._random.choice(self._clients))
            self._toll.killed("client")
        else:
            self._strike_host(self._random.choice(HOSTS), self._random.random() < CRASHES)
        self._strike_quarantine(self._random.random())

    def _strike_client(self, client: Client) -> None:
        client.kill()
        self._record.forget(client.number)
        client.start()

    def _strike_host(self, host: str, crash: bool) -> None:
        running = self._server.hosts()
        # One in the pause before its next start is spared, and one that could never answer for so long that
        # the server would rightly begin to refuse its callers.
        others = [each for each in (host, *HOSTS) if each in running and self._vain.get(each, 0) < MOST_IN_VAIN]
        if others:
            host = others[0]
            crash = crash and host not in self._out  # a host that crashes as it starts is refused sooner
            self._vain[host] = self._vain.get(host, 0) + 1
            self._out[host] = time.monotonic_ns(), running[host]
            cast.kill(running[host], signal.SIGSEGV if crash else signal.SIGKILL)
            self._toll.killed(f"{host or 'shared'}{', as by a crash' if crash else ''}")

    def _strike_quarantine(self, chance: float) -> None:
        pid = next((pid for host, pid in self._server.hosts().items() if host not in HOSTS), 0)
        if pid and chance < 0.1:
            cast.kill(pid, signal.SIGKILL)
            self._toll.killed("quarantine")

    # -- what is watched -------------------------------------------------------------------------------

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._look()
            time.sleep(min(LOOK, left))

    def _look(self) -> None:
        for host, (since, pid) in list(self._out.items()):
            model = host.partition("#")[0] or "shared"
            if (at := self._record.answered(model, since, pid)) is not None:
                del self._out[host]
                self._vain[host] = 0
                self._toll.outages.setdefault(model, []).append((at - since) / 1e9)
        age, number = self._record.oldest()
        if age > HANG:
            self._hung(self._clients[number], age)
        for client in self._clients:
            if client.left():
                self._toll.notes.append(f"client {client.number} ended by itself")
                self._strike_client(client)

    def _hung(self, client: Client, age: float) -> None:
        self._toll.hung += 1
        self._toll.notes.append(f"a call of client {client.number} has taken {age:.0f} s")
        client.tell_stacks()
        time.sleep(1.0)  # for it to write them
        self._strike_client(client)

    def _start_clients(self) -> None:
        for client in self._clients:
            client.start()
        self._all_answered()

    def _end_clients(self) -> None:
        if any(codes := [client.end() for client in self._clients]):
            self._toll.notes.append(f"the clients ended with exit codes {codes}")

    def _all_answered(self) -> None:
        """Each lane has an answer."""
        before = self._record.of_lanes(CALLS)

        def answered() -> bool:
            self._look()
            return all(now > was for now, was in zip(self._record.of_lanes(CALLS), before, strict=True))

        self._until(answered, "some clients have no answer")

    def _settled(self, before: Holdings | None) -> Holdings:
        """What the server holds when nobody calls any more; what is left after its patience are leaks."""
        end = time.monotonic() + PATIENCE
        while True:
            held = Holdings(self._server)
            beyond = held.beyond(before or held)
            if not beyond:
                return held
            if time.monotonic() > end:
                self._toll.leaks += beyond
                return held
            time.sleep(0.1)  # for the end of what gives no sign but itself

    def _until(self, condition: Callable[[], bool], otherwise: str) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"{otherwise}:\n{self._toll}\n{self._server.log[-4000:]}")
            time.sleep(LOOK)
