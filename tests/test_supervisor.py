"""The supervisor on real processes: hosts that die, supervisors that die, and what callers see of it."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sharedmodel.client import connect
from sharedmodel.errors import BadArgument, HostLost, HostUnavailable, LoadFailed
from sharedmodel.server.boot import text_file
from sharedmodel.server.control import ask
from sharedmodel.server.settings import Settings

from .servers import ECHO, PATIENCE, command, running_server, until, watching

FULL = """
import errno, os, sys, unittest.mock
from sharedmodel.server import supervisor
full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
with unittest.mock.patch("socket.socket.bind", side_effect=full):
    sys.exit(supervisor.main())
"""


def test_a_call_is_answered_by_the_next_host_when_its_host_is_killed(runtime: str) -> None:
    with running_server(ECHO, runtime) as server:
        echo = connect(server.address).model("echo")
        before = echo.pid()
        server.kill_host()
        assert echo.pid() != before
        death = server.status()["deaths"][-1]
        assert (death["pid"], death["reason"]) == (before, "killed by SIGKILL")


def test_a_call_that_may_not_run_twice_ends_with_host_lost_when_its_host_is_killed(runtime: str) -> None:
    pipe = _pipe(runtime)
    with running_server(ECHO, runtime) as server, ThreadPoolExecutor() as pool:
        echo = connect(server.address).model("echo")
        held = pool.submit(echo.hold, pipe)
        with open(pipe, "w"):  # opens when the method has opened the other end: it runs
            server.kill_host()
            with pytest.raises(HostLost):
                held.result()


def test_a_planned_restart_costs_no_call_of_what_may_not_run_twice_either(runtime: str) -> None:
    with running_server('[models.echo]\nfactory = "zoo:Echo"\n', runtime) as server, ThreadPoolExecutor() as pool:
        over = threading.Event()

        def call() -> set[int]:
            echo, pids = connect(server.address).model("echo"), set()
            while not over.is_set():
                pids.add(echo.pid())  # raises HostLost where it may have run and its answer is lost
            return pids

        caller = pool.submit(call)
        try:
            for restarts in range(1, 5):
                before = server.host_pid
                ask(server.place.control, "restart")
                until(lambda: server.status()["restarts"] == restarts, lambda: server.log)  # noqa: B023
                until(lambda: server.state() == "ready" and server.host_pid != before, lambda: server.log)  # noqa: B023
        finally:
            over.set()
        assert caller.result()


def test_who_connects_while_there_is_no_host_waits_for_the_next_one(runtime: str) -> None:
    with running_server(ECHO, runtime) as server, ThreadPoolExecutor() as pool:
        old = server.host_pid
        os.kill(old, signal.SIGSTOP)  # does not accept any more
        waiting = pool.submit(lambda: connect(server.address).model("echo").add(1, 2))
        os.kill(old, signal.SIGKILL)
        assert waiting.result() == 3


def test_a_host_killed_again_and_again_is_started_again_each_time(runtime: str) -> None:
    with running_server(ECHO, runtime) as server:
        echo = connect(server.address).model("echo")
        for _ in range(4):
            server.kill_host()
            assert echo.add(2, 3) == 5
        assert server.status()["restarts"] == 4


def test_the_host_goes_with_a_supervisor_that_is_killed_and_the_next_one_serves(runtime: str) -> None:
    with running_server(ECHO, runtime) as server, watching(server.host_pid) as gone:
        server.kill()
        assert gone()
        with running_server(ECHO, runtime) as next_one:
            assert connect(next_one.address).model("echo").add(1) == 1


def test_a_stopped_host_goes_with_its_supervisor_as_well(runtime: str) -> None:
    with running_server(ECHO, runtime) as server, watching(server.host_pid) as gone:
        os.kill(server.host_pid, signal.SIGSTOP)
        server.kill()
        assert gone()


@pytest.mark.parametrize("stopped", [False, True])
def test_what_a_model_has_started_goes_with_a_supervisor_that_is_killed(stopped: bool, runtime: str) -> None:
    with running_server('[models.m]\nfactory = "zoo:Parent"\n', runtime) as server:
        child = connect(server.address).model("m").child()
        with watching(child) as gone:
            if stopped:
                server.stop_host()
            server.kill()
            assert gone()


def test_a_second_supervisor_is_refused_and_told_who_is_there(runtime: str) -> None:
    with running_server(ECHO, runtime) as server:
        told = command("serve", f"{runtime}/config.toml", "--runtime-dir", runtime, code=2)
        assert f"pid {server.process.pid}" in told and "sharedmodel stop" in told
        assert connect(server.address).model("echo").add(1) == 1


def test_a_full_disk_is_told_with_its_place_and_is_no_mistake(runtime: str) -> None:
    # A supervisor that ends with 2 is not started again by the service manager.
    fd = text_file("settings", Settings().to_json())
    words = [sys.executable, "-c", FULL, runtime, str(fd)]
    with open(fd):
        done = subprocess.run(words, pass_fds=[fd], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert re.search(f"sharedmodel: {runtime}.*: No space left on device; free some space there", done.stderr)


def test_a_runtime_directory_that_can_not_be_made_is_told_in_a_line() -> None:
    told = command("serve", "--embedded", "--runtime-dir", "/dev/null/x", code=2)
    assert told.count("\n") == 1 and "/dev/null/x can't be made: Not a directory" in told


def test_sigterm_lets_running_calls_finish_and_leaves_no_socket(runtime: str) -> None:
    pipe = _pipe(runtime)
    with running_server(ECHO, runtime) as server, ThreadPoolExecutor() as pool:
        held = pool.submit(connect(server.address).model("echo").hold, pipe)
        with open(pipe, "w") as writer:
            server.process.terminate()
            until(lambda: not os.path.exists(server.address), lambda: server.log)
            writer.write("done")
        assert held.result() == "done"
        assert server.ends() == 0
        assert not [name for name in os.listdir(runtime) if name.endswith(".sock")]


def test_a_second_ctrl_c_does_not_wait_for_running_calls(runtime: str) -> None:
    pipe = _pipe(runtime)
    with running_server("[server]\ngrace = 1000\n" + ECHO, runtime) as server, ThreadPoolExecutor() as pool:
        held = pool.submit(connect(server.address).model("echo").hold, pipe)
        with open(pipe, "w"):
            server.process.send_signal(signal.SIGINT)
            until(lambda: not os.path.exists(server.address), lambda: server.log)
            server.process.send_signal(signal.SIGINT)
            assert server.ends() == 0
        with pytest.raises(HostLost):
            held.result()


def test_a_host_that_does_not_stop_in_its_grace_time_is_killed(runtime: str) -> None:
    with running_server("[server]\ngrace = 0.1\n" + ECHO, runtime) as server:
        os.kill(server.host_pid, signal.SIGSTOP)
        server.process.terminate()
        assert server.ends() == 0
        assert "did not end in time" in server.log


def test_sighup_begins_to_serve_what_is_new_and_ends_what_is_gone_in_the_host_that_runs(runtime: str) -> None:
    with running_server(ECHO + '[models.gate]\nfactory = "zoo:Turnstile"\n', runtime) as server:
        host = connect(server.address)
        assert (host.model("gate").number(), before := host.model("echo").pid()) == (1, server.host_pid)
        gate = '[models.gate]\nfactory = "zoo:Turnstile"\n'
        server.rewrite(gate + '[models.more]\nfactory = "zoo:Echo"\nkwargs = {plus = 5}\n')
        until(lambda: set(host.models()) == {"gate", "more"}, lambda: str(host.models()))
        assert host.model("more").add(1) == 6
        with pytest.raises(BadArgument, match="no model 'echo' here; there are: gate, more"):
            host.model("echo")
        assert host.model("gate").number() == 2  # untouched
        assert server.host_pid == before


def test_sighup_loads_what_has_changed_anew_beside_the_old_one(runtime: str) -> None:
    with running_server(ECHO, runtime) as server, ThreadPoolExecutor(1) as pool:
        before, echo = server.host_pid, connect(server.address).model("echo")
        over = threading.Event()

        def calls() -> list[int]:
            seen = [echo.add(1)]
            while not over.is_set():
                seen.append(echo.add(1))
            return seen

        calling = pool.submit(calls)
        server.rewrite(ECHO + "kwargs = {plus = 5}\n")
        until(lambda: echo.add(1) == 6, lambda: server.log)
        over.set()
        assert set(calling.result()) <= {1, 6}  # none failed
        assert server.host_pid == before
        assert "its configuration has changed" in server.log


def test_sighup_with_another_setting_of_the_server_starts_the_host_anew(runtime: str) -> None:
    with running_server(ECHO, runtime) as server:
        with watching(server.host_pid) as gone:
            server.rewrite("[server]\nsessions = 7\n" + ECHO)
            assert gone()
        server.until("ready")
        assert connect(server.address).model("echo").add(1) == 1


def test_sighup_with_a_mistake_in_the_configuration_changes_nothing(runtime: str) -> None:
    with running_server(ECHO, runtime) as server:
        old = server.host_pid
        Path(runtime, "config.toml").write_text('[models.echo]\nfactroy = "zoo:Echo"\n')
        server.process.send_signal(signal.SIGHUP)
        until(lambda: "was not taken" in server.log, lambda: server.log)
        assert "models.echo" in server.log
        assert server.host_pid == old


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ('factory = "zoo:crashing"', "crashed with SIGSEGV, while it was loading bad"),
        ('factory = "zoo:leaving"', "exit code 7, while it was loading bad"),
        (
            'factory = "zoo:Crasher"\nwarmup = {method = "crash", args = ["abort"]}',
            "crashed with SIGABRT, while it was warming up bad",
        ),
    ],
)
def test_callers_are_told_why_when_the_host_can_not_be_started(runtime: str, model: str, reason: str) -> None:
    with running_server(f"[models.bad]\n{model}\n", runtime, ready=False) as server:
        status = server.until("failing")
        assert reason in status["deaths"][-1]["reason"]
        until(lambda: server.status()["models"]["bad"]["state"] == "failed", lambda: str(server.status()["models"]))
        until(lambda: server.status()["hosts"][0]["pid"] is None, lambda: server.log)
        with pytest.raises(LoadFailed, match=reason):
            connect(server.address)


def test_garbage_on_the_control_socket_harms_nobody(runtime: str) -> None:
    chance = random.Random(7)
    with running_server(ECHO, runtime) as server:
        open_ones = []
        for size in (0, 1, 4, 5, 100, 70_000):
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.connect(server.place.control)
            try:
                sock.sendall(chance.randbytes(size))
            except OSError:
                pass  # it was closed half-way: fair enough
            open_ones.append(sock)
        assert server.state() == "ready"
        for sock in open_ones:
            sock.close()
        with pytest.raises(ValueError, match="no request 'dance'"):
            ask(server.place.control, "dance")


def test_many_idle_connections_to_the_control_socket_do_not_shut_it(runtime: str) -> None:
    with running_server(ECHO, runtime) as server:
        idle = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(100)]
        for sock in idle:
            sock.connect(server.place.control)
        assert server.state() == "ready"
        for sock in idle:
            sock.close()


def test_the_status_comes_from_the_supervisor_when_the_host_is_silent(runtime: str) -> None:
    with running_server(ECHO, runtime) as server:
        server.stop_host()
        status = server.status()
        assert status["state"] == "unresponsive"
        assert status["models"]["echo"]["state"] == "ready"
        os.kill(server.host_pid, signal.SIGCONT)


def test_the_supervisor_loads_no_library_of_models(runtime: str) -> None:
    with running_server(ECHO, runtime) as server:
        maps = Path(f"/proc/{server.process.pid}/maps").read_text()
        assert not [name for name in ("numpy", "onnxruntime", "torch", "pydantic") if name in maps]
        assert server.status()["supervisor"]["memory"] < 30e6


def test_an_idle_server_ends_and_leaves_no_socket(runtime: str) -> None:
    with running_server(ECHO, runtime, "--idle-exit", "0.2", ready=False) as server:
        assert server.ends() == 0
        assert "no sessions for 0.2 s" in server.log
        with pytest.raises(HostUnavailable):
            connect(server.address)


def test_a_server_with_a_session_is_not_idle(runtime: str) -> None:
    with running_server(ECHO, runtime, "--idle-exit", "0.3", ready=False) as server:
        with connect(server.address) as host:
            assert not threading.Event().wait(1.0)  # three idle times
            assert host.model("echo").add(1) == 1
        assert server.ends() == 0


def _pipe(directory: str) -> str:
    path = os.path.join(directory, "pipe")
    os.mkfifo(path)
    return path
