"""What must not hold up the supervisor, confuse it or end it: real processes, stopped, killed and told nonsense."""

from __future__ import annotations

import os
import selectors
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from sharedmodel.client import connect
from sharedmodel.errors import BadArgument, LoadFailed, Poisonous
from sharedmodel.server import reload
from sharedmodel.server.control import ask
from sharedmodel.server.keeper import SILENCE
from sharedmodel.server.notify import Notifier
from sharedmodel.server.place import Place
from sharedmodel.server.settings import Settings
from sharedmodel.server.supervisor import Supervisor

from .servers import ECHO, release, running_server, until

APART = '[models.apart]\nfactory = "zoo:Echo"\nisolate = true\n'


def _pipe(runtime: str) -> str:
    path = f"{runtime}/pipe"
    os.mkfifo(path)
    return path


def test_a_model_put_back_while_its_old_host_still_drains_is_reached(runtime: str) -> None:
    pipe = _pipe(runtime)
    with running_server(ECHO + APART, runtime) as server, ThreadPoolExecutor() as pool:
        held = pool.submit(connect(server.address).model("apart").hold, pipe)
        old = server.pid_of("apart")
        until(lambda: bool(server.status()["models"]["apart"]), lambda: "it is not there")
        server.rewrite(ECHO)
        until(lambda: "apart" not in server.status()["models"], lambda: str(server.status()["models"]))
        server.rewrite(ECHO + APART)
        until(lambda: "apart" in server.status()["models"], lambda: str(server.status()["models"]))
        server.until("ready")
        release(pipe, held)
        until(lambda: not os.path.exists(f"/proc/{old}"), lambda: "the old host is still there")
        with connect(server.address) as host:
            assert host.model("apart", timeout=20).add(1, 2) == 3


def test_a_host_that_does_not_read_holds_up_nobody_and_hears_what_is_new_at_last(runtime: str) -> None:
    long = f'kwargs = {{label = "{"x" * 300_000}"}}\n'
    models = "".join(f'[models.m{at}]\nfactory = "zoo:Named"\nisolate = true\n{long}' for at in range(3))
    with running_server(ECHO + models, runtime) as server:
        pid = server.host_pid
        apart = connect(f"{runtime}/host.m0.sock")
        server.stop_host()
        try:
            for _ in range(6):
                apart.reload("m0")
            assert ask(server.place.control, "live", timeout=5)["pid"] == server.process.pid
            apart.unload("m0")
        finally:
            os.kill(pid, signal.SIGCONT)
        with connect(server.address) as host:
            until(lambda: host.models()["m0"]["state"] == "unloaded", lambda: str(host.models()["m0"]["state"]))
        assert server.until("ready")["restarts"] == 0 and server.host_pid == pid


def test_a_supervisor_that_was_stopped_for_a_while_does_not_blame_its_hosts(runtime: str) -> None:
    with running_server(f"{ECHO}max_run = 600\n", runtime) as server:
        pid = server.host_pid
        time.sleep(1.5)  # a host says each second that it is alive
        server.process.send_signal(signal.SIGSTOP)
        time.sleep(SILENCE + 1)
        server.process.send_signal(signal.SIGCONT)
        assert server.until("ready")["restarts"] == 0 and server.host_pid == pid


def test_who_is_stopping_takes_no_new_configuration(runtime: str) -> None:
    pipe = _pipe(runtime)
    with running_server(f"[server]\ngrace = 3\n{ECHO}", runtime) as server, ThreadPoolExecutor() as pool:
        held = pool.submit(connect(server.address).model("echo").hold, pipe)
        with open(pipe, "w"):  # opens when the method has opened the other end: it runs
            server.process.send_signal(signal.SIGTERM)
            until(lambda: server.state() == "stopping", lambda: server.state())
            server.rewrite(f"[server]\ngrace = 3\n{ECHO}{APART}")
            with pytest.raises(BadArgument, match="the server is stopping"):
                ask(server.place.control, "restart")
            assert server.ends() == 0, server.log
        assert held.exception() is not None


def test_a_model_that_fails_with_megabytes_of_text_harms_no_other(runtime: str) -> None:
    wordy = '[models.wordy]\nfactory = "zoo:Wordy"\nkwargs = {size = 5000000}\n'
    with running_server(ECHO + wordy, runtime, ready=False) as server:
        until(lambda: server.status()["models"]["wordy"]["state"] == "failed", lambda: str(server.status()["models"]))
        with connect(server.address) as host:
            assert host.model("echo").add(1, 2) == 3
        assert server.status()["restarts"] == 0


def test_a_canary_that_fails_with_bytes_of_a_file_name_has_its_model_loaded_anew(runtime: str) -> None:
    config = (
        '[models.m]\nfactory = "zoo:Unreadable"\nargs = ["{}/bad"]\ncanary = {{method = "check"}}\ncanary_every = 0.2\n'
    )
    with running_server(config.format(runtime), runtime) as server, connect(server.address) as host:

        def answers() -> bool:
            with suppress(LoadFailed):
                return host.model("m", timeout=20).check() is True
            return False

        assert answers()
        Path(runtime, "bad").touch()
        until(lambda: server.status()["models"]["m"]["state"] != "ready", lambda: server.log)
        Path(runtime, "bad").unlink()
        until(answers, lambda: server.log)
        until(lambda: server.status()["models"]["m"]["state"] == "ready", lambda: server.log)


def test_a_server_is_ready_though_calls_have_ended_the_quarantine_again_and_again(runtime: str) -> None:
    config = '[models.bad]\nfactory = "zoo:Crasher"\nidempotent = ["crash"]\n'
    with running_server(ECHO + config, runtime) as server, connect(server.address) as host:
        for _ in range(3):
            with pytest.raises(Poisonous):
                host.model("bad").crash("segfault")
        assert server.until("ready")
        with connect(f"{runtime}/host.#quarantine.sock"):
            until(lambda: bool(server.pid_of("#quarantine")), lambda: str(server.status()["hosts"]))
            assert server.state() == "ready"


def test_a_configuration_read_by_another_version_is_not_taken() -> None:
    newer = Settings().to_json().replace("{", '{"newer": true, ', 1)
    mistake = reload.found(0, newer, "")
    assert isinstance(mistake, BadArgument)
    assert "another version than the one that serves has read it: restart the server" in str(mistake)


def test_a_configuration_that_takes_too_long_to_be_read_is_not_taken(
    runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reload, "TIMEOUT", 0.2)
    taken: list[reload.Found] = []
    with selectors.DefaultSelector() as selector:
        reading = reload.Reading(selector, taken.append)
        reading.begin(Settings(config_file=_pipe(runtime)))
        while not taken:
            for key, _ in selector.select(0.05):
                key.data()
            reading.expire(time.monotonic())
        assert "could not be read within 0.2 s" in str(taken[0]) and reading.due == reload.NEVER


def test_the_supervisor_answers_while_a_configuration_is_read_and_takes_the_last_word(runtime: str) -> None:
    with running_server(f"{ECHO}max_run = 600\n", runtime) as server, ThreadPoolExecutor() as pool:
        pid, config = server.host_pid, Path(runtime, "config.toml")
        config.unlink()
        os.mkfifo(config)
        server.process.send_signal(signal.SIGHUP)
        first = pool.submit(open, config, "w")  # opens when somebody reads
        with first.result(20) as written:
            assert ask(server.place.control, "live", timeout=5)["pid"] == server.process.pid
            server.process.send_signal(signal.SIGHUP)  # read once more, then
            until(lambda: ask(server.place.control, "live", timeout=5)["pid"] > 0, lambda: "it does not answer")
            config.unlink()
            config.write_text(f"{ECHO}max_run = 600\n{APART}")
            written.write(ECHO)
        until(lambda: "apart" in server.status()["models"], lambda: server.log)
        assert server.until("ready")["restarts"] == 0 and server.host_pid == pid


def test_a_fault_in_the_supervisor_is_logged_once_and_ends_no_host(
    runtime: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    place = Place.find(runtime)
    supervisor = Supervisor(place, Settings(runtime_dir=runtime), Notifier.from_environment())
    rounds: list[str] = []

    def due(self: Supervisor, now: float) -> None:
        rounds.append("a round")
        if len(rounds) < 4:
            raise RuntimeError("what nobody has thought of")
        self.stop("the test is over")

    monkeypatch.setattr(Supervisor, "_due", due)
    monkeypatch.setattr(Supervisor, "_timeout", lambda self: 0.0)
    monkeypatch.setattr(supervisor.hosts, "start", lambda: None)
    assert supervisor.run() == 0
    assert len([line for line in caplog.messages if line.startswith("a fault in the supervisor")]) == 1
