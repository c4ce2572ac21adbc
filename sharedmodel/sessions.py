"""The sessions of this process: one for each address, shared by all its threads, made on demand.

A forked child has none of its parent's: the first call there makes its own. Arrays that live at the
fork stay valid in both processes (see `memory`).
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from typing import Any

from . import deadlines
from .encoder import ProxyBytes
from .errors import DeadlineExceeded
from .session import Session


class Sessions:
    """A table of sessions; `SESSIONS` is that of the process."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._gates: dict[str, Any] = {}  # one connects, for all who want that address
        self.open: dict[str, Session] = {}  # a lost one stays until the next call
        self._keys: dict[str, bytes] = {}
        self._options: dict[str, dict[str, Any]] = {}
        self._hooked = False

    def remember(self, address: str, authkey: bytes | None = None, **options: Any) -> None:
        """Use this key, and these options of `Session`, for an address from now on."""
        if authkey is not None and bytes(authkey) != _own_key():  # which is tried where one is asked for
            self._keys[address] = bytes(authkey)
        if options:
            self._options[address] = options

    def follow(self, address: str, leader: str) -> None:
        """Use for an address what was remembered for another one of the same server."""
        self.remember(address, self._keys.get(leader), **self._options.get(leader, {}))

    def key(self, address: str) -> bytes | None:
        """The key that is used for an address, if one was given."""
        return self._keys.get(address)

    def current(self, address: str, timeout: float | None = None) -> Session:
        """The live session with a host, connecting if there is none. Raises what `Session` raises."""
        session = self.open.get(address)
        if session is not None and session.channel.lost is None:
            return session
        self._hook()
        end = deadlines.after(timeout)
        gate = self._gates.setdefault(address, threading.RLock())
        held: deque[bool] = deque()
        try:
            held.extend(map(gate.acquire, (True,), (deadlines.seconds(end),)))  # see `Session._send`
            if not held[0]:
                raise DeadlineExceeded(f"{address} did not answer within {timeout:.3g} s")
            return self._opened(address, deadlines.left(end))
        finally:
            if held and held[0]:
                gate.release()

    def _opened(self, address: str, timeout: float | None) -> Session:
        session = self.open.get(address)
        if session is None or not session.alive:
            session = self._connect(address, timeout, self._keys.get(address))
            with self._lock:
                self.open[address] = session
        return session

    def living(self) -> list[Session]:
        """The sessions of this process, in the order in which they were made."""
        return [session for session in list(self.open.values()) if session.alive]

    def check(self, address: str, authkey: bytes | None) -> None:
        """Whether the host lets in who has this key: a session of its own, which is closed. Raises as `Session`."""
        self._connect(address, None, authkey if authkey != _own_key() else None).close()

    def close(self, address: str) -> None:
        """End the session with a host, if there is one."""
        with self._lock:
            session = self.open.pop(address, None)
        if session is not None:
            session.close()

    def _connect(self, address: str, timeout: float | None, key: bytes | None) -> Session:
        from .crossing import load_in_client, proxy_bytes

        options = self._options.get(address, {})
        load = load_in_client(address)
        proxies: ProxyBytes = proxy_bytes
        try:
            return Session(address, authkey=key, timeout=timeout, proxy=proxies, load=load, **options)
        except Exception as exc:
            if key is not None or type(exc).__name__ != "AuthenticationError":
                raise
            # As the standard library does: the process's own key, which its children inherit.
            from multiprocessing import current_process

            return Session(
                address, authkey=current_process().authkey, timeout=timeout, proxy=proxies, load=load, **options
            )

    def _hook(self) -> None:
        if not self._hooked:
            self._hooked = True
            os.register_at_fork(after_in_child=self._in_child)

    def _in_child(self) -> None:
        self._lock = threading.RLock()
        self._gates = {}
        self.open = {}


def _own_key() -> bytes | None:
    """The key of this process, which its children inherit; None where multiprocessing was never imported."""
    processes = sys.modules.get("multiprocessing.process")
    return None if processes is None else bytes(processes.current_process().authkey)


SESSIONS = Sessions()
