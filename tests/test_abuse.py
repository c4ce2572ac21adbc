"""Callers and machines that behave badly, and a whole server: it stays up, others are served, the log says it once."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sharedmodel import handshake, process
from sharedmodel.board import Board
from sharedmodel.client import connect
from sharedmodel.server.place import Lock, Place

from .raw import Raw, call
from .servers import ECHO, PATIENCE, Server, command, running_server, until

ROOT = Path(__file__).parents[1]
APART = ECHO + '[models.apart]\nfactory = "zoo:Echo"\nisolate = true\nidempotent = ["pid", "add"]\n'
# The caller's end is a process of its own, to be stopped in mid-call.
CALLER = """
import sys
from sharedmodel.client import connect
print(connect(sys.argv[1]).model("echo").held_by(sys.argv[2]), flush=True)
"""


@pytest.fixture
def server(runtime: str) -> Iterator[Server]:
    with running_server(ECHO, runtime) as server:
        yield server
        assert server.state() == "ready"


def serves(server: Server) -> bool:
    """Whether somebody new is served."""
    with connect(server.address) as host:
        assert host.model("echo", timeout=PATIENCE).add(1, 2) == 3
    return True


def lines_added(server: Server, before: str) -> list[str]:
    return server.log.removeprefix(before).splitlines()


@contextlib.contextmanager
def few_descriptors(pid: int, spare: int) -> Iterator[None]:
    """A process may open so many more, and no further one."""
    old = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    highest = max(int(fd) for fd in os.listdir(f"/proc/{pid}/fd"))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (highest + 1 + spare, old[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, old)


def test_the_silent_the_half_spoken_the_deaf_and_the_flood_leave_others_served(server: Server) -> None:
    before, host = server.log, server.host_pid
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(Raw(server.address, greeted=False))
            stack.enter_context(Raw(server.address, greeted=False)).send(handshake.hello(True, bytes(32))[:9])
            stack.enter_context(Raw(server.address)).send(call("x" * 1000)[:500])
        deaf = stack.enter_context(Raw(server.address))
        deaf.sock.setblocking(False)
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while True:  # the host reads no further from who does not read
                deaf.sock.send(call("x" * 10_000, ident="echo"))
        flood = stack.enter_context(Raw(server.address))
        with ThreadPoolExecutor() as pool:
            for _ in range(3):
                flood.send(call(1, ident="echo") * 500)
                assert pool.submit(serves, server).result()
    assert server.host_pid == host
    assert len(lines_added(server, before)) < 10


def test_two_hundred_clients_at_once_are_all_served(server: Server) -> None:
    before = server.log
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Raw(server.address)) for _ in range(200)]
        for number, client in enumerate(clients):
            client.send(call(number, ident="echo"))
        answers = [next(client.frames())[2] for client in clients]
        assert answers == list(range(200))
        assert len(server.status()["sessions"]) == 200
    until(lambda: not server.status()["sessions"], lambda: "sessions stay")
    assert lines_added(server, before) == []


def test_a_host_without_descriptors_serves_those_it_has_and_others_when_it_can(server: Server) -> None:
    before = server.log
    echo = connect(server.address).model("echo")
    assert echo.add(1) == 1
    with contextlib.ExitStack() as stack, ThreadPoolExecutor() as pool:
        stack.enter_context(few_descriptors(server.host_pid, 8))
        crowd = [stack.enter_context(Raw(server.address, greeted=False)) for _ in range(60)]
        until(lambda: "ulimit -n" in server.log, lambda: server.log)
        assert echo.add(1, 2) == 3
        waiting = pool.submit(serves, server)
        for raw in crowd:
            raw.sock.close()
        assert waiting.result()
    assert sum("ulimit -n" in line for line in lines_added(server, before)) == 1
    assert len(lines_added(server, before)) < 5


def test_a_host_without_descriptors_says_how_it_stands_as_ever(server: Server) -> None:
    before = server.log
    with few_descriptors(server.host_pid, 0):
        hard = resource.prlimit(server.host_pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(server.host_pid, resource.RLIMIT_NOFILE, (3, hard))
        told = server.status()
        (host,) = told["hosts"]
        assert (told["state"], host["state"], host["descriptors"]) == ("ready", "ready", 3)
        assert "sharedmodel_descriptors" in command("metrics") and "shared" in command("top", "--once")
    assert lines_added(server, before) == []


def test_a_supervisor_without_descriptors_starts_the_host_when_it_has_some(server: Server) -> None:
    echo = connect(server.address).model("echo")
    with ThreadPoolExecutor() as pool:
        pid, supervisor = echo.pid(), server.process.pid
        with few_descriptors(supervisor, 0):
            hard = resource.prlimit(supervisor, resource.RLIMIT_NOFILE)[1]
            resource.prlimit(supervisor, resource.RLIMIT_NOFILE, (3, hard))
            os.kill(pid, signal.SIGKILL)
            until(lambda: "could not be started: Too many open files" in server.log, lambda: server.log)
            answer = pool.submit(echo.add, 1, 2)
        assert answer.result() == 3
    assert server.log.count("could not be started") == 1


def test_requests_are_answered_although_others_hold_all_descriptors(server: Server) -> None:
    before = server.log
    with contextlib.ExitStack() as stack, few_descriptors(server.process.pid, 4):
        for _ in range(40):
            sock = stack.enter_context(socket.socket(socket.AF_UNIX))
            sock.connect(server.place.control)
        assert server.state() == "ready"
    assert len(lines_added(server, before)) == 1


def test_garbage_on_the_control_socket_costs_its_sender_the_connection_only(server: Server) -> None:
    before = server.log
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", bytes(64), b"\xff" * 100_000, os.urandom(5000)):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(server.place.control)
            with contextlib.suppress(ConnectionError):
                sock.sendall(garbage)
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(100):
                    pass
        assert server.state() == "ready"
    assert lines_added(server, before) == []


def test_a_caller_that_is_stopped_in_mid_call_holds_up_nobody(server: Server, runtime: str) -> None:
    pipe = os.path.join(runtime, "pipe")
    os.mkfifo(pipe)
    before = server.log
    caller = subprocess.Popen([sys.executable, "-c", CALLER, server.address, pipe], stdout=subprocess.PIPE)
    try:
        with open(pipe, "w"):  # opens when the call runs
            caller.send_signal(signal.SIGSTOP)
            assert serves(server)
        assert serves(server)
        caller.send_signal(signal.SIGCONT)
        assert int(caller.communicate(timeout=PATIENCE)[0]) == server.host_pid
    finally:
        caller.kill()
        caller.communicate()
    assert lines_added(server, before) == []


def test_a_host_that_stands_still_holds_up_its_own_model_only(runtime: str) -> None:
    with running_server(APART, runtime) as server, ThreadPoolExecutor() as pool:
        host = connect(server.address)
        apart, echo = host.model("apart"), host.model("echo")
        pid, before = apart.pid(), server.log
        os.kill(pid, signal.SIGSTOP)
        held = pool.submit(apart.pid)
        assert echo.add(1, 2) == 3
        assert serves(server)
        states = {each["name"]: each["state"] for each in server.status()["hosts"]}
        assert states == {"": "ready", "apart": "unresponsive"}
        os.kill(pid, signal.SIGCONT)
        assert held.result() == pid
        assert lines_added(server, before) == []


def test_a_log_on_a_full_disk_is_no_reason_not_to_serve(runtime: str) -> None:
    with running_server(ECHO, runtime) as server:
        Path(runtime, "log").unlink()
        Path(runtime, "log").symlink_to("/dev/full")
        server.process.terminate()
        assert server.ends() == 0
    Path(runtime, "config.toml").write_text(ECHO)
    command = [
        sys.executable,
        "-m",
        "sharedmodel.server.cli",
        "serve",
        f"{runtime}/config.toml",
        "--runtime-dir",
        runtime,
    ]
    with open("/dev/full", "wb") as full:
        serving = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=full, stderr=full)
    try:
        server = Server(runtime, serving, Path(runtime, "no log"))
        until(lambda: os.path.exists(server.place.control), lambda: "it does not serve")
        server.until("ready")
        server.kill_host()
        assert serves(server)
        serving.terminate()
        assert server.ends() == 0
    finally:
        serving.kill()
        serving.wait()


def _full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_board_that_the_disk_has_no_room_for_is_an_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "posix_fallocate", _full)
    with pytest.raises(OSError, match="No space left"):
        Board.create(str(tmp_path / "loads"))
    assert list(tmp_path.iterdir()) == []


def test_the_lock_holds_although_the_disk_has_no_room_for_its_text(
    runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", _full)
        lock = Lock(Place(runtime))
    lock.close()


def test_a_process_that_can_not_be_looked_at_is_not_taken_for_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    name = process.identity(os.getpid())

    def none_left(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", none_left)
        alive = process.is_alive(name)
    assert alive


def test_nothing_waits_by_the_wall_clock() -> None:
    """The machine's clock may jump: `time.time` is for what people read, and these are all such places."""
    display = {
        "server/supervisor.py": 1,
        "server/configuration.py": 1,
        "server/child.py": 2,
        "server/cli_status.py": 1,
        "server/cli_top.py": 1,
        "server/slot.py": 3,
        "server/machine/gpus.py": 1,
        "server/metrics/traces.py": 1,
    }
    found = {}
    for path in (*ROOT.glob("sharedmodel/*.py"), *ROOT.glob("server/**/*.py"), *ROOT.glob("client/*.py")):
        text = path.read_text()
        assert not re.search(r"\bfrom time import|datetime\.now|utcnow|CLOCK_REALTIME", text), path
        if count := len(re.findall(r"\btime\.(?:time|time_ns|ctime)\(\)", text)):
            found[str(path.relative_to(ROOT))] = count
    assert found == display
