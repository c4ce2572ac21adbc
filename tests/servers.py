"""Real servers for tests: `sharedmodel serve` as a process, in a runtime directory of its own."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sharedmodel.server.control import ask
from sharedmodel.server.place import Place

PATIENCE = 200.0
CLI = (sys.executable, "-m", "sharedmodel.server.cli")

ECHO = """
[models.echo]
factory = "zoo:Echo"
idempotent = ["add", "pid", "echo"]
"""


class Server:
    """A supervisor that was started, and what tests do to it."""

    def __init__(self, directory: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.place = Place(directory)
        self.process = process
        self._log = log

    @property
    def address(self) -> str:
        return self.place.host

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def host_pid(self) -> int:
        return self.pid_of("")

    def pid_of(self, host: str) -> int:
        """The process of a host: of the first one, "", or of a model's own."""
        return int(next(each["pid"] for each in self.status()["hosts"] if each["name"] == host))

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = ask(self.place.control, "status", timeout=PATIENCE)
        return found

    def state(self) -> str:
        return str(self.status()["state"])

    def until(self, state: str) -> dict[str, Any]:
        """Wait for a state; the status then."""
        until(lambda: self.state() == state, lambda: f"{self.state()}, not {state}; log:\n{self.log}")
        return self.status()

    def kill_host(self, number: int = signal.SIGKILL, name: str = "") -> int:
        """Kill a host and wait for its end; its pid."""
        pid = self.pid_of(name)
        with watching(pid) as gone:
            os.kill(pid, number)
            assert gone()
        return pid

    def rewrite(self, config: str) -> None:
        """The configuration is another one, and the server is told."""
        Path(self.place.directory, "config.toml").write_text(config)
        self.process.send_signal(signal.SIGHUP)

    def kill(self) -> None:
        """Kill the supervisor and wait for its end, which its hosts may come to before it."""
        self.process.kill()
        self.ends()

    def stop_host(self) -> None:
        """SIGSTOP to the first host, and wait until it stands."""
        pid = self.host_pid
        tasks = Path(f"/proc/{pid}/task")
        os.kill(pid, signal.SIGSTOP)
        until(lambda: all(_state(task) == "T" for task in tasks.iterdir()), lambda: "it does not stop")

    def ends(self) -> int:
        """Wait for the supervisor's end; its exit code."""
        return self.process.wait(PATIENCE)


@contextmanager
def running_server(config_text: str, directory: str, *options: str, ready: bool = True) -> Iterator[Server]:
    """``sharedmodel serve`` with this configuration, its runtime directory the given one.

    Factories are found in the module `zoo` (tests/zoo.py). The server is stopped at the end, and must then
    end with exit code 0; a test may stop or kill it before.
    """
    config = Path(directory, "config.toml")
    config.write_text(config_text)
    shutil.copy(Path(__file__).with_name("zoo.py"), directory)
    with started(directory, "serve", str(config), *options) as server:
        if ready:
            server.until("ready")
        yield server
        if server.process.poll() is None:
            server.process.send_signal(signal.SIGTERM)
            assert server.ends() == 0, server.log


@contextmanager
def started(directory: str, *words: str) -> Iterator[Server]:
    """A command that serves, with the runtime directory given; ended by force if it is still there."""
    log = Path(directory, "log")
    with log.open("wb") as out:
        command = [*CLI, *words, "--runtime-dir", directory]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/")
    server = Server(directory, process, log)
    try:
        until(lambda: _answers(server), lambda: f"it does not serve; log:\n{server.log}")
        yield server
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def _state(task: Path) -> str:
    return (task / "stat").read_text().rpartition(")")[2].split()[0]


def _answers(server: Server) -> bool:
    assert server.process.poll() is None, server.log
    try:
        ask(server.place.control, "status")
    except OSError:
        return False
    return True


def command(*words: str, code: int = 0, **options: Any) -> str:
    """Run a command of the command line; its standard output, or its errors where it shall fail."""
    done = subprocess.run([*CLI, *words], capture_output=True, text=True, timeout=PATIENCE, check=False, **options)
    assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    told: str = done.stderr if code else done.stdout
    return told


def until(condition: Callable[[], bool], otherwise: Callable[[], str], patience: float = PATIENCE) -> None:
    """Wait for what gives no sign but itself."""
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, otherwise()
        time.sleep(0.01)


def release(pipe: str, held: Future[Any]) -> None:
    """Let go whoever reads a named pipe, now or a little later, until the call that does has ended."""

    def ended() -> bool:
        with suppress(OSError):  # ENXIO: nobody has it open for reading
            os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        return held.done()

    until(ended, lambda: f"nobody reads {pipe}, and the call goes on")


@contextmanager
def watching(pid: int) -> Iterator[Callable[[], bool]]:
    """A function that waits for the end of a process, which must live now; whether it came."""
    pidfd = os.pidfd_open(pid)
    try:
        yield lambda: bool(select.select([pidfd], [], [], PATIENCE)[0])
    finally:
        os.close(pidfd)
