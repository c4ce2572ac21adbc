"""What a host serves: its models while they load, when they fail, and when they are let go."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sharedmodel.client import connect
from sharedmodel.errors import BadArgument, LoadFailed, NotPermitted
from sharedmodel.session import Session

from . import onnx_graphs
from .servers import ECHO, running_server, started, until


def test_other_models_answer_while_one_is_loading_and_calls_to_that_one_wait(runtime: str) -> None:
    pipe = os.path.join(runtime, "pipe")
    os.mkfifo(pipe)
    text = f'{ECHO}[models.slow]\nfactory = "zoo:waiting"\nargs = ["{pipe}"]\n'
    with running_server(text, runtime, ready=False) as server, ThreadPoolExecutor() as pool:
        host = connect(server.address)
        assert host.model("echo").add(1) == 1
        assert host.models()["slow"]["state"] == "loading"
        assert server.until("loading")["models"]["slow"]["state"] == "loading"
        slow = pool.submit(lambda: host.model("slow").add(2))
        with open(pipe, "w"):
            pass
        assert slow.result() == 2
        server.until("ready")


def test_a_call_by_name_waits_for_its_model_without_asking_first(runtime: str) -> None:
    pipe = os.path.join(runtime, "pipe")
    os.mkfifo(pipe)
    text = f'[models.slow]\nfactory = "zoo:waiting"\nargs = ["{pipe}"]\n'
    with running_server(text, runtime, ready=False) as server, ThreadPoolExecutor() as pool:
        session = Session(server.address)
        answer = pool.submit(session.call, "slow", "add", (1, 2), {})
        with open(pipe, "w"):
            pass
        assert answer.result() == 3
        session.close()


def test_a_model_that_can_not_be_loaded_says_why_and_disturbs_no_other(runtime: str) -> None:
    with running_server(ECHO + '[models.bad]\nfactory = "zoo:broken"\n', runtime) as server:
        host = connect(server.address)
        with pytest.raises(LoadFailed, match="FileNotFoundError: no weights here") as raised:
            host.model("bad")
        assert "in broken" in str(raised.value.__cause__)
        assert host.model("echo").add(1) == 1
        state = server.status()["models"]["bad"]
        assert state["state"] == "failed" and "no weights" in state["reason"]


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ('factory = "nowhere:f"', "No module named 'nowhere'"),
        ('factory = "zoo:nothing"', "no attribute 'nothing'"),
        ('factory = "zoo:Echo"\nkwargs = {minus = 1}', "unexpected keyword argument 'minus'"),
        ('factory = "zoo:Echo"\nexposed = ["sing"]', "no method 'sing'; it has: add"),
    ],
)
def test_a_factory_that_does_not_fit_its_table_is_told_so(runtime: str, table: str, reason: str) -> None:
    with running_server(f"[models.m]\n{table}\n", runtime) as server, pytest.raises(LoadFailed, match=reason):
        connect(server.address).model("m")


def test_only_exposed_methods_of_a_factory_are_served_and_close_is_none_of_them(runtime: str) -> None:
    text = ECHO + '[models.narrow]\nfactory = "zoo:Echo"\nexposed = ["add"]\n'
    with running_server(text, runtime) as server:
        host = connect(server.address)
        assert dir(host.model("narrow")).count("add") == 1
        session = Session(server.address)
        for model, method in (("narrow", "pid"), ("echo", "close"), ("echo", "__init__")):
            with pytest.raises(NotPermitted):
                session.call(model, method, (), {})
        session.close()


def test_the_exception_of_a_model_is_its_callers(runtime: str) -> None:
    with running_server(ECHO, runtime) as server, pytest.raises(ValueError, match="too blue"):
        connect(server.address).model("echo").fail("too blue")


def test_an_unloaded_model_comes_back_with_its_next_call(runtime: str) -> None:
    loads = Path(runtime, "loads")
    text = f'[models.m]\nfactory = "zoo:counted"\nargs = ["{loads}"]\n'
    with running_server(text, runtime) as server:
        model = connect(server.address).model("m")
        session = Session(server.address)
        session.call("#models", "unload", ("m",), {})
        assert session.call("#models", "states", (), {})["m"]["state"] == "unloaded"
        assert model.add(1) == 1
        assert loads.read_text() == "xx"
        with pytest.raises(BadArgument, match="no model 'n' here; there are: m"):
            session.call("#models", "unload", ("n",), {})
        session.close()


def test_a_configured_server_loads_nothing_that_a_client_names(runtime: str) -> None:
    with running_server(ECHO, runtime) as server, pytest.raises(NotPermitted, match=r"\[models.mine\]"):
        connect(server.address).model("mine", kind="onnx", path="/etc/passwd")


def test_an_embedded_server_loads_its_users_files_and_so_does_the_next_host(runtime: str, tmp_path: Path) -> None:
    path = tmp_path / "identity.onnx"
    path.write_bytes(onnx_graphs.identity())
    with started(runtime, "serve", "--embedded") as server:
        with connect(server.address) as host:
            net = host.model("net", kind="onnx", path=str(path))
            assert net.get_inputs()
            server.kill_host()
            assert net.get_inputs()
            with pytest.raises(BadArgument, match="with other options"):
                host.model("net", kind="onnx", path=str(path), threads=1)
        server.process.terminate()
        assert server.ends() == 0


def test_models_close_when_the_server_stops(runtime: str) -> None:
    closed = os.path.join(runtime, "closed")
    text = f'[models.m]\nfactory = "zoo:Echo"\nkwargs = {{closed = "{closed}"}}\n'
    with running_server(text, runtime):
        pass
    assert Path(closed).read_text() == "closed"


def test_a_configured_server_is_told_to_stay_offline(runtime: str) -> None:
    with running_server(ECHO, runtime) as server:
        assert connect(server.address).model("echo").environment("HF_HUB_OFFLINE") == "1"


def test_a_server_with_a_key_asks_for_it(runtime: str) -> None:
    from multiprocessing import AuthenticationError

    key = Path(runtime, "key")
    key.write_text("secret\n")
    key.chmod(0o600)
    with running_server('[server]\nauthkey_file = "key"\n' + ECHO, runtime) as server:
        with pytest.raises(AuthenticationError):
            Session(server.address, authkey=b"guess")
        session = Session(server.address, authkey=b"secret")
        assert session.call("echo", "add", (1,), {}) == 1
        session.close()


def test_a_failed_load_is_tried_again_by_a_later_host(runtime: str) -> None:
    loads = Path(runtime, "loads")
    text = f'[models.m]\nfactory = "zoo:counted"\nargs = ["{loads}"]\nkwargs = {{fails = 1}}\n'
    with running_server(text, runtime) as server:
        host = connect(server.address)
        with pytest.raises(LoadFailed, match="not yet"):
            host.model("m")
        server.kill_host()
        assert host.model("m").add(1) == 1
        until(lambda: loads.read_text() == "xx", loads.read_text)
