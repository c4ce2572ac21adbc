"""Metrics and health over HTTP, from a process of its own beside the supervisor."""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import os
import select
import selectors
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sharedmodel.client import connect
from sharedmodel.server.config import ConfigError, load
from sharedmodel.server.metrics.address import parse
from sharedmodel.server.metrics.gateway import Gateway
from sharedmodel.server.metrics.web import AT_ONCE, Pages, WebServer
from sharedmodel.server.place import Place

from .servers import ECHO, PATIENCE, Server, command, running_server, until, watching

TCP = '[server]\nmetrics = "127.0.0.1:0"\n'
UNIX = '[server]\nmetrics = "unix"\n'


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self._path)


def get(server: Server, path: str, **headers: str) -> tuple[int, str, str]:
    """Status, content type and text of a page."""
    address = server.status()["metrics"]["address"]
    unix = address.startswith("/")
    connection = UnixConnection(address) if unix else http.client.HTTPConnection(address, timeout=PATIENCE)
    with contextlib.closing(connection):
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read().decode()


@pytest.fixture(params=[TCP, UNIX], ids=["tcp", "unix"])
def server(request: pytest.FixtureRequest, runtime: str) -> Iterator[Server]:
    with running_server(request.param + ECHO, runtime) as started:
        yield started


def test_metrics_are_served_as_the_command_prints_them(server: Server) -> None:
    connect(server.address).model("echo").add(1)
    status, kind, text = get(server, "/metrics")
    assert status == 200 and kind.startswith("text/plain; version=0.0.4")
    line = 'sharedmodel_calls_total{host="#first",method="add",model="echo",outcome="ok"} 1.0\n'
    assert line in text and line in command("metrics")


def test_openmetrics_is_served_to_who_asks_for_it(server: Server) -> None:
    _, kind, text = get(server, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text") and text.endswith("# EOF\n")


def test_a_server_whose_models_are_ready_is_live_and_ready(server: Server) -> None:
    status, _, text = get(server, "/health/ready")
    assert (status, json.loads(text)) == (200, {"ready": True, "reasons": []})
    status, _, text = get(server, "/health/live")
    assert status == 200 and json.loads(text)["pid"] == server.process.pid


def test_a_page_that_is_not_there_says_which_are(server: Server) -> None:
    status, _, text = get(server, "/")
    assert status == 404 and "/health/ready" in text


def test_the_process_that_serves_metrics_is_started_again_when_it_dies(server: Server) -> None:
    before = server.status()["metrics"]["pid"]
    with watching(before) as gone:
        os.kill(before, signal.SIGKILL)
        assert gone()
    assert get(server, "/health/live")[0] == 200  # who comes meanwhile waits
    assert server.status()["metrics"]["pid"] not in (before, None)


def test_the_process_that_serves_metrics_ends_with_a_killed_supervisor(server: Server) -> None:
    with watching(server.status()["metrics"]["pid"]) as gone:
        server.kill()
        assert gone()


def test_the_supervisor_stays_small_beside_it(server: Server) -> None:
    maps = Path(f"/proc/{server.process.pid}/maps").read_text()
    assert not [name for name in ("numpy", "pydantic", "prometheus") if name in maps]
    assert server.status()["supervisor"]["memory"] < 30e6


def test_a_reader_that_says_nothing_keeps_nobody_else_from_reading(server: Server) -> None:
    address = server.status()["metrics"]["address"]
    with contextlib.ExitStack() as silent:
        for _ in range(4):
            if address.startswith("/"):
                sock = silent.enter_context(socket.socket(socket.AF_UNIX))
                sock.connect(address)
            else:
                host, _, port = address.partition(":")
                silent.enter_context(socket.create_connection((host, int(port))))
        assert get(server, "/health/live")[0] == 200


@pytest.fixture
def web(runtime: str) -> Iterator[WebServer]:
    """Pages of a server that there is not, for readers that have half a second."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        web = WebServer(listener, Pages(f"{runtime}/control.sock"), patience=0.5)
        thread = threading.Thread(target=web.serve_forever, args=(0.01,))
        thread.start()
        yield web
        web.shutdown()
        thread.join()


def reader(web: WebServer) -> socket.socket:
    return socket.create_connection(web.socket.getsockname(), timeout=PATIENCE)


def test_a_reader_that_says_a_little_again_and_again_is_let_go(web: WebServer) -> None:
    with reader(web) as slow:

        def let_go() -> bool:
            with contextlib.suppress(ConnectionError):
                slow.sendall(b"G")
                return bool(select.select([slow], [], [], 0)[0])
            return True

        until(let_go, lambda: "it is still listened to")


def test_a_reader_that_takes_half_its_time_is_answered(web: WebServer) -> None:
    with reader(web) as slow:
        slow.sendall(b"GET /no")
        threading.Event().wait(web.patience / 2)
        slow.sendall(b"where HTTP/1.0\r\n\r\n")
        assert b" 404 " in slow.makefile("rb").readline()


def test_readers_that_say_nothing_make_way_for_one_that_asks(web: WebServer) -> None:
    web.patience = 3 * PATIENCE
    with contextlib.ExitStack() as silent:
        first, *_ = [silent.enter_context(reader(web)) for _ in range(3 * AT_ONCE)]
        with reader(web) as asking:
            asking.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert b" 404 " in asking.makefile("rb").readline()
        assert first.recv(1) == b""  # the oldest went first


def test_readers_that_ask_are_all_answered_however_many_come_at_once(web: WebServer) -> None:
    with contextlib.ExitStack() as several:
        readers = []
        for _ in range(3 * AT_ONCE):
            readers.append(several.enter_context(reader(web)))
            readers[-1].sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert all(b" 404 " in each.makefile("rb").readline() for each in readers)


def test_readers_for_whom_there_was_no_thread_keep_no_place(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", none_left)
        for _ in range(AT_ONCE):
            with reader(web) as lost:
                assert lost.recv(1) == b""
    with reader(web) as later:
        later.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert b" 404 " in later.makefile("rb").readline()


@pytest.fixture
def gateway(runtime: str) -> Iterator[Gateway]:
    with selectors.DefaultSelector() as selector:
        gateway = Gateway(Place(runtime), selector)
        yield gateway
        gateway.close()


def test_a_process_that_can_not_be_watched_is_ended_before_the_next(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched: list[int] = []

    def no_descriptor(pid: int) -> int:
        watched.append(pid)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pidfd_open", no_descriptor)
        gateway.apply("127.0.0.1:0")
        assert gateway.told() is not None
        gateway.close()
        gateway.apply("127.0.0.1:0")
    assert not [pid for pid in watched if os.path.exists(f"/proc/{pid}")]
    gateway.expire(gateway.due)
    assert os.path.exists(f"/proc/{(gateway.told() or {})['pid']}")


def test_the_same_address_in_other_words_is_served_on(gateway: Gateway) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    gateway.apply(f"localhost:{port}")
    before = gateway.told()
    gateway.apply(f"127.0.0.1:{port}")
    assert gateway.told() == before


def test_a_model_that_failed_makes_the_server_live_but_not_ready(runtime: str) -> None:
    with running_server(TCP + ECHO + '[models.bad]\nfactory = "zoo:broken"\n', runtime) as server:
        status, kind, text = get(server, "/health/ready")
        (reason,) = json.loads(text)["reasons"]
        assert (status, kind) == (503, "application/json")
        assert reason["model"] == "bad" and reason["state"] == "failed" and "no weights here" in reason["reason"]
        assert get(server, "/health/live")[0] == 200


def test_a_silent_supervisor_is_not_live(runtime: str) -> None:
    with running_server(UNIX + ECHO, runtime) as server:
        address = server.status()["metrics"]["address"]
        os.kill(server.process.pid, signal.SIGSTOP)
        try:
            with contextlib.closing(UnixConnection(address)) as connection:
                connection.request("GET", "/health/live")
                answer = connection.getresponse()
                assert answer.status == 503 and "did not answer" in answer.read().decode()
        finally:
            os.kill(server.process.pid, signal.SIGCONT)


def test_the_socket_is_the_users_own_and_goes_with_the_server(runtime: str) -> None:
    with running_server(UNIX + ECHO, runtime) as server:
        path = server.place.metrics
        assert os.stat(path).st_mode & 0o777 == 0o600
    assert not os.path.exists(path)


def test_a_new_address_is_taken_without_touching_the_hosts(runtime: str) -> None:
    with running_server(ECHO, runtime) as server:
        before = server.host_pid
        assert server.status()["metrics"] is None
        for text, wanted in ((UNIX, "metrics.sock"), (TCP, "127.0.0.1:")):
            Path(runtime, "config.toml").write_text(text + ECHO)
            server.process.send_signal(signal.SIGHUP)
            until(lambda: wanted in str(server.status()["metrics"]), lambda: server.log)  # noqa: B023
            assert get(server, "/health/ready")[0] == 200
        assert server.host_pid == before and not os.path.exists(server.place.metrics)


def test_an_address_in_use_is_told_before_anything_is_served(runtime: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        Path(runtime, "c.toml").write_text(f'[server]\nmetrics = "127.0.0.1:{port}"\n{ECHO}')
        told = command("serve", os.path.join(runtime, "c.toml"), code=1)  # it may be free later
        assert f"127.0.0.1:{port} can't be listened at: Address already in use" in told


@pytest.mark.parametrize(
    ("text", "shown"),
    [("127.0.0.1:9100", "127.0.0.1:9100"), ("localhost:80", "127.0.0.1:80"), ("[::1]:0", "[::1]:0")],
)
def test_loopback_addresses_are_allowed(text: str, shown: str) -> None:
    assert str(parse(text)) == shown


@pytest.mark.parametrize(
    "value",
    ['"0.0.0.0:9100"', '"192.168.1.1:9100"', '"[::]:9100"', '"example.org:80"', '":9100"', '"9100"', '"127.0.0.1"',
     '"127.0.0.1:70000"', '"tcp"', '""'],
)  # fmt: skip
def test_any_other_address_is_a_mistake_that_names_what_is_allowed(value: str, tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text(f"[server]\nmetrics = {value}\n{ECHO}")
    with pytest.raises(
        ConfigError, match=r'server\.metrics: .*"unix" .* or a loopback address and a port.*"\[::1\]:9100"'
    ):
        load(file)


def get_settings(text: str, tmp_path: Path) -> Any:
    file = tmp_path / "c.toml"
    file.write_text(f"[server]\n{text}\n{ECHO}")
    return load(file)


def test_the_keys_are_checked_as_the_others(tmp_path: Path) -> None:
    settings = get_settings('metrics = "unix"\nlog_format = "json"', tmp_path)
    assert (settings.metrics, settings.log_format) == ("unix", "json")
    with pytest.raises(ConfigError, match=r"server\.log_format: .*'text' or 'json'"):
        get_settings('log_format = "xml"', tmp_path)
    with pytest.raises(ConfigError, match="did you mean 'metrics'"):
        get_settings('metric = "unix"', tmp_path)
    with pytest.raises(ConfigError, match=r"server\.metrics"):
        get_settings("metrics = 9100", tmp_path)
