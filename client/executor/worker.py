"""A worker process from the outside: started, called, told to stop, killed, buried.

Its socket has no name by the time the process runs: what is connected is the only connection there will be.
It leads a session (setsid) of its own, so that Ctrl-C in a terminal is for the program alone, and what its tasks
have started can be killed with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
from multiprocessing import process, spawn
from typing import Any, Final

from sharedmodel import deadlines, link, runtime
from sharedmodel.errors import HostLost, SharedModelError
from sharedmodel.process import watched
from sharedmodel.session import Session

from .child import TASKS
from .light import LoadResult, light_bytes
from .reference import Work

_START: Final = 300.0  # seconds in which the program's module must have been imported
_LAST_WORDS: Final = 1.0  # between the end of a process's socket and its own
_CODE: Final = (
    "import json, sys; boot = json.load(sys.stdin); sys.path[:] = boot['path']; "
    "from sharedmodel.client.executor.child import main; main(boot)"
)


class Ended(Exception):
    """The process has ended. ``begun`` is False where the call certainly has not run."""

    def __init__(self, how: str, exit_code: int, begun: bool) -> None:
        super().__init__(how)
        self.how = how
        self.exit_code = exit_code
        self.begun = begun


class Worker:
    """One process. `kill` and `cancel` may be called from any thread, all else from one."""

    def __init__(self, memory_limit: int | None = None) -> None:
        """Start it; `greet` waits until it is there. Raises OSError where no process can be started."""
        self.tasks = 0
        self._lock = threading.Lock()
        self._killed = False
        self._buried = False
        self._session: Session | None = None
        self._address = runtime.fresh_address("tasks")
        listener = link.listen(self._address)
        with listener:
            self._sock = link.connect(self._address)
            os.unlink(self._address)
            try:
                self._process = _start(listener.fileno(), memory_limit)
                self._pidfd = watched(self._process)
            except BaseException:
                self._sock.close()
                raise
        self.pid = self._process.pid

    def greet(self) -> None:
        """Wait until it can be called. Raises Ended."""
        load = LoadResult(self._address)
        try:
            self._session = Session(self._address, timeout=_START, proxy=light_bytes, load=load, sock=self._sock)
        except SharedModelError as exc:
            if not isinstance(exc, HostLost):
                self.kill()
            how, code = self._bury()
            own = code >= 0  # then it has said why; a signal comes from others as a rule, and is no try of the task's
            said = "; its own message is on standard error" if own else ""
            raise Ended(f"{how} before it was ready{said}", code, own) from None

    def call(self, work: Work) -> Any:
        """The result of a task. Raises what the task raises, and Ended."""
        session = self._session
        assert session is not None
        self.tasks += 1
        try:
            return session.call(TASKS, work.reference, work.args, work.kwargs)
        except Exception as exc:
            if session.alive:
                raise
            begun = not isinstance(exc, HostLost) or exc.begun
        how, code = self._bury()
        raise Ended(how, code, begun)

    @property
    def usable(self) -> bool:
        """Whether it has not ended, as far as is known; one that was killed may take a moment to go."""
        return not self._killed and self._session is not None and self._session.alive and not self._ended(0)

    def cancel(self) -> None:
        """Tell the task that nobody waits for it (see `sharedmodel.reply.cancelled`). Does not block."""
        if (session := self._session) is not None:
            for pending in list(session.channel.pending.values()):
                session.cancel(pending)

    def kill(self) -> None:
        """End the process and what it has started, now. Idempotent."""
        with self._lock:
            self._killed = True
            if not self._buried:
                self._kill()

    def end(self, patience: float) -> None:
        """Have it end by itself, or in so many seconds by force. Idempotent."""
        if self._buried:
            return
        if self._session is not None:
            with contextlib.suppress(SharedModelError):
                self._session.control("shutdown", timeout=patience)
            self._ended(patience)
        self._bury(patience=0.0)

    def _bury(self, patience: float = _LAST_WORDS) -> tuple[str, int]:
        """Release everything; how the process has ended, and its exit code."""
        if not self._ended(patience):
            self.kill()
        self._ended(None)
        with self._lock:
            self._kill()  # what it has left behind
            self._buried = True
            code = self._process.wait()
        os.close(self._pidfd)
        self._sock.close()
        if self._session is not None:
            self._session.close()
        return f"the worker (pid {self.pid}) {_how(code)}", code

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def _ended(self, seconds: float | None) -> bool:
        poller = select.poll()
        poller.register(self._pidfd, select.POLLIN)
        return bool(poller.poll(None if seconds is None else min(seconds, deadlines.LONGEST) * 1000))


def _start(listener: int, memory_limit: int | None) -> subprocess.Popen[bytes]:
    current: Any = process.current_process()
    boot = {
        "parent": os.getpid(),
        "listener": listener,
        "memory": memory_limit,
        "path": sys.path,
        "authkey": bytes(current.authkey).hex(),
        "main": {key: value for key, value in spawn.get_preparation_data("task-worker").items() if key != "authkey"},
    }
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    command = [sys.executable, *flags, "-c", _CODE]
    started = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=(listener,), start_new_session=True)
    assert started.stdin is not None
    with contextlib.suppress(BrokenPipeError), started.stdin as pipe:  # it has ended: who greets it learns it
        pipe.write(json.dumps(boot, default=os.fspath).encode())
    return started


def _how(code: int) -> str:
    if code >= 0:
        return f"ended by itself with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    memory = ", which is also what the kernel does where memory has run out" if -code == signal.SIGKILL else ""
    return f"was killed by {name}{memory}"
