"""What a service manager is told, the sockets it hands over, the unit files. The manager is played here."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sharedmodel.client import connect
from sharedmodel.server import activation, units
from sharedmodel.server.herald import Herald
from sharedmodel.server.notify import AGAIN, Notifier
from sharedmodel.server.progress import Progress

from .servers import ECHO, PATIENCE, Server, command, running_server

BAD = ECHO + '[models.bad]\nfactory = "zoo:broken"\n'
# As systemd starts a service: its sockets from descriptor 3 on, and told to that process alone.
AS_SYSTEMD = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="host")
os.execv(sys.executable, [sys.executable, "-m", "sharedmodel.server.cli", *sys.argv[2:]])
"""


class Manager:
    """Receives what a service tells."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0", 1))
        self._socket.settimeout(PATIENCE)

    def hears(self, line: str) -> list[str]:
        """The message that has this line, or one that begins so; others are skipped."""
        while True:
            lines = self._socket.recv(4096).decode().split("\n")
            if any(each.startswith(line) for each in lines):
                return lines

    def heard(self) -> list[str]:
        """What has come, and was not received yet."""
        found: list[str] = []
        self._socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                found += self._socket.recv(4096).decode().split("\n")
        return found

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, runtime: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    manager = Manager(f"{runtime}/notify" if request.param == "path" else f"@{runtime}/notify")
    monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
    yield manager
    manager.close()


def test_ready_is_told_when_each_model_is_ready_or_has_failed(manager: Manager, runtime: str) -> None:
    with running_server(BAD, runtime) as server:
        lines = manager.hears("READY=1")
        assert "STATUS=1 of 2 models ready; failed: bad" in lines
        echo = connect(server.address).model("echo")
        assert [echo.environment(name) for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC")] == [None, None]
        server.process.terminate()
        assert "STATUS=stopping: SIGTERM" in manager.hears("STOPPING=1")
        assert server.ends() == 0


def test_a_reload_is_told_and_its_end(manager: Manager, runtime: str) -> None:
    with running_server(ECHO, runtime) as server:
        manager.hears("READY=1")
        Path(runtime, "config.toml").write_text(ECHO + '[models.more]\nfactory = "zoo:Echo"\n')
        server.process.send_signal(signal.SIGHUP)
        assert any(line.startswith("MONOTONIC_USEC=") for line in manager.hears("RELOADING=1"))
        assert "STATUS=2 of 2 models ready" in manager.hears("READY=1")
        Path(runtime, "config.toml").write_text("nonsense")
        server.process.send_signal(signal.SIGHUP)
        manager.hears("RELOADING=1")
        (status,) = [line for line in manager.hears("READY=1") if line.startswith("STATUS=")]
        assert status.startswith("STATUS=2 of 2 models ready; the configuration was not taken: ") and "TOML" in status
        Path(runtime, "config.toml").write_text(ECHO)
        server.process.send_signal(signal.SIGHUP)
        manager.hears("RELOADING=1")
        assert "STATUS=1 of 1 models ready" in manager.hears("READY=1")


def test_signs_of_life_are_given_where_the_manager_watches(
    manager: Manager, runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    with running_server(ECHO, runtime):
        for _ in range(3):
            manager.hears("WATCHDOG=1")


def test_a_host_that_dies_shows_in_the_status(manager: Manager, runtime: str) -> None:
    with running_server(ECHO, runtime) as server:
        manager.hears("READY=1")
        server.kill_host()
        assert manager.hears("STATUS=0 of 1 models ready")
        assert manager.hears("STATUS=1 of 1 models ready") == ["STATUS=1 of 1 models ready"]


class Downloading:
    """Hosts of one model, which is on its way from the hub."""

    def __init__(self) -> None:
        self.done = 10

    def __iter__(self) -> Iterator[Any]:
        return iter([SimpleNamespace(state="loading", child=None)])

    def models(self) -> dict[str, Any]:
        progress = Progress("downloading org/net", self.done, 100)
        return {"net": {"state": "loading", "progress": progress.plain()}}


class Standing:
    """Hosts of one model, which is ready."""

    def __iter__(self) -> Iterator[Any]:
        return iter([SimpleNamespace(state="ready", child=None)])

    def models(self) -> dict[str, Any]:
        return {"net": {"state": "ready"}}


def test_a_download_that_goes_on_is_told_and_has_more_time_to_start_in(manager: Manager) -> None:
    hosts: Any = Downloading()
    herald = Herald(Notifier(manager.address))
    for hosts.done in (10, 10, 20):
        herald.look(hosts)
    for done in ("10 of 100 B (10 %)", "20 of 100 B (20 %)"):
        told = manager.hears("EXTEND_TIMEOUT_USEC=600000000")
        assert told[1] == f"STATUS=0 of 1 models ready; loading: net; downloading org/net: {done}"


def fill(notifier: Notifier) -> None:
    """Until nothing more goes to a manager that does not read."""
    while notifier.tell("STATUS=as ever"):
        pass


def test_that_all_is_ready_is_told_again_to_a_manager_that_was_slow_to_read(manager: Manager) -> None:
    hosts: Any = Standing()
    notifier = Notifier(manager.address)
    herald = Herald(notifier)
    fill(notifier)
    herald.look(hosts)
    assert time.monotonic() < herald.due <= time.monotonic() + AGAIN
    assert "READY=1" not in manager.heard()
    herald.expire(herald.due)
    assert manager.heard() == ["READY=1", "STATUS=1 of 1 models ready"]
    assert herald.due == float("inf")
    herald.look(hosts)
    assert manager.heard() == []


def test_a_sign_of_life_is_given_again_soon_to_a_manager_that_was_slow_to_read(manager: Manager) -> None:
    notifier = Notifier(manager.address, watchdog=60.0)
    fill(notifier)
    notifier.expire(100.0)
    assert notifier.due == 100.0 + AGAIN and "WATCHDOG=1" not in manager.heard()
    notifier.expire(notifier.due)
    assert manager.heard() == ["WATCHDOG=1"] and notifier.due == 100.0 + AGAIN + 30.0


def test_a_manager_that_is_gone_is_no_error(runtime: str) -> None:
    assert Notifier(f"{runtime}/nobody").tell("READY=1")  # there is nobody to tell it again
    assert Notifier(None, 1.0).due == float("inf")


def test_a_watchdog_for_another_process_is_not_ours() -> None:
    environ = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1", "OTHER": ""}
    assert Notifier.from_environment(environ).due == float("inf")
    assert environ == {"OTHER": ""}


@contextmanager
def activated(listener: socket.socket, directory: str) -> Iterator[Server]:
    """A server that was handed a listening socket."""
    log = Path(directory, "log")
    words = ["serve", f"{directory}/config.toml", "--runtime-dir", directory]
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", AS_SYSTEMD, str(listener.fileno()), *words],
            pass_fds=[listener.fileno()], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
        )  # fmt: skip
    server = Server(directory, process, log)
    try:
        yield server
        process.terminate()
        assert server.ends() == 0, server.log
    finally:
        process.kill()
        process.wait()


def test_a_socket_of_the_manager_is_served_and_stays_when_the_server_ends(runtime: str) -> None:
    Path(runtime, "config.toml").write_text(ECHO)
    shutil.copy(Path(__file__).with_name("zoo.py"), runtime)
    address = f"{runtime}/host.sock"
    with socket.socket(socket.AF_UNIX) as listener, ThreadPoolExecutor() as pool:
        listener.bind(address)
        listener.listen()
        early = pool.submit(lambda: connect(address).model("echo").pid())  # there is no server yet
        with activated(listener, runtime) as server:
            assert early.result() == server.host_pid
            server.kill_host()
            assert connect(address).model("echo").environment("LISTEN_FDS") is None
        assert os.path.exists(address)
        between = pool.submit(lambda: connect(address).model("echo").pid())
        with activated(listener, runtime) as server:
            assert between.result() == server.host_pid


def test_sockets_for_another_process_are_left_alone() -> None:
    assert activation.take({"LISTEN_PID": "1", "LISTEN_FDS": "3"}) == {}
    assert activation.take({}) == {}


def test_what_is_no_listening_socket_is_not_used_and_the_log_says_so(
    runtime: str, caplog: pytest.LogCaptureFixture
) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "strange"}
        assert activation.take(environ, first=ours.detach()) == {}
    assert "strange" in caplog.text


@pytest.mark.parametrize("user", [False, True])
def test_the_units_name_the_command_and_a_socket_where_the_server_looks_for_it(user: bool, tmp_path: Path) -> None:
    config = tmp_path / "my models 100%.toml"
    assert f"{config}: No such file" in command("systemd", str(config), *["--user"] * user, code=2)
    config.touch()
    unit = command("systemd", str(config), *["--user"] * user)
    assert f'serve "{tmp_path}/my models 100%%.toml" --runtime-dir %t/sharedmodel' in unit
    assert "reload --runtime-dir %t/sharedmodel" in unit
    assert "Type=notify" in unit and "KillMode=mixed" in unit
    assert "ListenStream=%t/sharedmodel/host.sock" in command("systemd", "--socket", *["--user"] * user)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_finds_no_fault_with_the_units(tmp_path: Path) -> None:
    paths = [tmp_path / "sharedmodel.service", tmp_path / "sharedmodel.socket"]
    paths[0].write_text(units.service(None, user=False))
    paths[1].write_text(units.listening(user=False))
    done = subprocess.run(["systemd-analyze", "verify", *paths], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
