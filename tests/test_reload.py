"""Models that are exchanged in a real server, while processes and threads call them: not one call fails."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sharedmodel.client import Host, aconnect, connect
from sharedmodel.errors import BadArgument, LoadFailed, NotPermitted

from . import callers
from .crowd import Child
from .servers import Server, command, running_server, until


def fragile(runtime: str, *lines: str) -> str:
    """A model whose loads are noted in a file."""
    return "\n".join(["[models.m]", 'factory = "zoo:Fragile"', f'args = ["{runtime}/loads"]', *lines, ""])


def versions(runtime: str) -> str:
    shared = f'[models.m]\nfactory = "zoo:Fragile"\nargs = ["{runtime}/loads"]\ndefault = "1"\n'
    return shared + "versions.1 = {kwargs = {plus = 100}}\nversions.2 = {kwargs = {plus = 200}, lazy = true}\n"


@contextmanager
def under_load(server: Server, name: str, *answers: int) -> Iterator[None]:
    """Three processes of three threads call the model; at the end each has done so without an error."""
    children = [Child(callers.call_until_told, server.address, name, 3, list(answers)) for _ in range(3)]
    try:
        for child in children:
            assert child.hears() == "calling"
        yield
        for child in children:
            child.tell()
        for child in children:
            told = child.hears()
            assert told.isdigit() and int(told) >= 3 * callers.LEAST, f"{told}\n{server.log}"
    finally:
        for child in children:
            child.close()


def size(path: str) -> int:
    return Path(path).stat().st_size if Path(path).exists() else 0


def test_no_call_fails_while_its_model_is_reloaded(runtime: str) -> None:
    with running_server(fragile(runtime), runtime) as server, connect(server.address) as host:
        with under_load(server, "m", 0):
            for _ in range(20):
                assert host.reload("m")["state"] == "ready"
        until(lambda: size(f"{runtime}/loads.closed") == 20, lambda: server.log)
        assert host.model("m").number() == 21
        until(lambda: "leaving" not in host.models()["m"], lambda: str(host.models()))  # closed first, then gone


def test_no_call_fails_while_its_model_is_unloaded(runtime: str) -> None:
    with running_server(fragile(runtime), runtime) as server, connect(server.address) as host:
        with under_load(server, "m", 0):
            for _ in range(20):
                host.unload("m")
        assert host.model("m").number() >= 2


def test_a_reload_that_fails_is_told_to_who_asked_and_to_nobody_else(runtime: str) -> None:
    with running_server(fragile(runtime), runtime) as server, connect(server.address) as host:
        with under_load(server, "m", 0):
            Path(runtime, "loads.bad").touch()
            for _ in range(3):
                with pytest.raises(LoadFailed, match="the new weights are bad"):
                    host.reload("m")
        assert host.model("m").number() == 1
        state = host.models()["m"]
        assert state["state"] == "ready" and "weights are bad" in state["last_failure"]


def test_a_model_that_falls_sick_is_replaced_and_its_callers_notice_nothing(runtime: str) -> None:
    lines = ("canary_every = 0.05", 'canary = {method = "fit", expect = true}')
    with running_server(fragile(runtime, *lines), runtime) as server, connect(server.address) as host:
        with under_load(server, "m", 0):
            Path(runtime, "loads.sick1").touch()
            until(lambda: host.model("m").number() == 2, lambda: server.log)
        assert "is not fit to serve any more" in server.log
        history = host.models()["m"]["history"]
        assert any("RuntimeError: sick" in change["why"] for change in history)


def test_the_default_version_is_switched_without_a_failed_call(runtime: str) -> None:
    with running_server(versions(runtime), runtime) as server, connect(server.address) as host:
        told = host.models()["m"]
        assert (told["state"], told["default"]) == ("ready", "1")
        assert {name: one["state"] for name, one in told["versions"].items()} == {"1": "ready", "2": "absent"}
        with under_load(server, "m", 100, 200), under_load(server, "m@1", 100):
            for _ in range(5):
                for version in ("2", "1"):
                    assert host.load("m", version=version, default=True)["default"] is True
                    assert host.model("m").work(0) == int(version) * 100
        assert host.model("m", version="2").work(1) == 201


def test_no_call_fails_while_sighup_adds_versions_and_takes_them_away(runtime: str) -> None:
    plain = fragile(runtime, "kwargs = {plus = 100}")
    with running_server(versions(runtime), runtime) as server, connect(server.address) as host:
        number = host.model("m@1").number()
        with under_load(server, "m", 100), under_load(server, "m@1", 100):
            for text in (versions(runtime) + "versions.3 = {kwargs = {plus = 300}}\n", versions(runtime)):
                server.rewrite(text)
                until(lambda: ("3" in host.models()["m"]["versions"]) == ("300" in text), lambda: server.log)  # noqa: B023
                assert host.model("m@1").number() == number
            until(lambda: size(f"{runtime}/loads.closed") >= 1, lambda: server.log)
        with under_load(server, "m", 100):
            for text in (plain, versions(runtime)):
                server.rewrite(text)
                until(lambda: ("versions" in host.models()["m"]) == (text != plain), lambda: server.log)  # noqa: B023
                until(lambda: server.state() == "ready", lambda: server.log)


def test_a_default_that_was_switched_outlives_its_host(runtime: str) -> None:
    with running_server(versions(runtime), runtime) as server, connect(server.address) as host:
        host.load("m@2", default=True)
        server.kill_host()
        assert host.model("m").work(0) == 200
        assert host.models()["m"]["default"] == "2"


def test_a_default_that_was_switched_stays_until_the_configuration_names_another(runtime: str) -> None:
    text = versions(runtime)
    with running_server(text, runtime) as server, connect(server.address) as host:
        host.load("m", version="2", default=True)
        server.rewrite(text + '[models.more]\nfactory = "zoo:Echo"\n')
        until(lambda: "more" in host.models(), lambda: server.log)
        assert (host.model("m").work(0), host.models()["m"]["default"]) == (200, "2")
        host.load("m", version="1", default=True)
        server.rewrite(text.replace('default = "1"', 'default = "2"'))
        until(lambda: host.models()["m"]["default"] == "2", lambda: server.log)
        until(lambda: host.model("m").work(0) == 200, lambda: server.log)


def test_a_default_that_can_not_be_loaded_is_none(runtime: str) -> None:
    with running_server(versions(runtime), runtime) as server, connect(server.address) as host:
        Path(runtime, "loads.bad").touch()
        with pytest.raises(LoadFailed):
            host.load("m", version="2", default=True)
        assert host.model("m").work(0) == 100
        with pytest.raises(BadArgument, match="no model 'm@3' here; there are: m, m@1, m@2"):
            host.load("m", version="3")


def test_who_asks_for_a_load_has_it_tried_at_once_and_who_calls_is_told_of_the_failure(runtime: str) -> None:
    noted = f"{runtime}/loads"
    text = f'[models.m]\nfactory = "zoo:counted"\nargs = ["{noted}", 3]\nlazy = true\n'
    with running_server(text, runtime) as server, connect(server.address) as host:
        assert "not yet" in command("load", "m", code=1)
        for _ in range(2):
            with pytest.raises(LoadFailed, match="not yet"):
                host.load("m")
        assert size(noted) == 3
        with pytest.raises(LoadFailed, match="not yet"):
            host.model("m")
        assert size(noted) == 3
        assert host.load("m")["state"] == "ready"


def test_a_lazy_model_is_loaded_at_its_first_call_and_goes_when_it_is_idle(runtime: str) -> None:
    text = fragile(runtime, "lazy = true", "ttl = 0.2")
    with running_server(text, runtime) as server, connect(server.address) as host:
        assert server.state() == "ready" and size(f"{runtime}/loads") == 0
        model = host.model("m")
        until(lambda: host.models()["m"]["state"] == "unloaded", lambda: str(host.models()))
        assert model.work(1) == 1
        assert host.models()["m"]["ttl"] == 0.2 and size(f"{runtime}/loads") == 2


def test_an_asyncio_client_may_do_the_same(runtime: str) -> None:
    async def use(address: str) -> list[Any]:
        async with await aconnect(address) as host:
            done = [(await host.unload("m"))["state"], (await host.load("m"))["state"]]
            done += [(await host.reload("m"))["state"], (await host.warmup("m"))["state"]]
            done += [(await host.load("m", version="2", default=True))["version"]]
            return [*done, await (await host.model("m", version="1")).work(0), await (await host.model("m")).work(0)]

    with running_server(versions(runtime), runtime) as server:
        told = asyncio.run(use(server.address))
    assert told == ["unloaded", "ready", "ready", "ready", "2", 100, 200]


def test_only_their_owner_may_manage_models() -> None:
    from sharedmodel import reply
    from sharedmodel.objects import Objects
    from sharedmodel.server.directory import Directory
    from sharedmodel.server.elsewhere import Elsewhere
    from sharedmodel.server.suspects import Deaths
    from sharedmodel.server.table import Table

    class Foreign:
        class peer:
            class who:
                uid = 54321

    directory = Directory(Table(Objects()), Elsewhere({}), Deaths([], ""), embedded=True)
    reply.current.call = Foreign()  # type: ignore[assignment]
    try:
        for ask in (directory.load, directory.unload, directory.reload, directory.warmup):
            with pytest.raises(NotPermitted, match="only the user who runs the server may"):
                ask("m")
    finally:
        reply.current.call = None


def test_memory_goes_back_when_a_model_is_unloaded(runtime: str) -> None:
    text = '[models.big]\nfactory = "zoo:Heavy"\n'
    with running_server(text, runtime) as server, connect(server.address) as host:
        before = _memory(host)
        host.unload("big")
        assert before - _memory(host) > 100 << 20


def _memory(host: Host) -> int:
    return int(host.status()["memory"])


def test_models_with_hosts_of_their_own_are_managed_in_each_of_them(runtime: str) -> None:
    text = versions(runtime).replace("default", "isolate = true\ninstances = 2\ndefault")
    with running_server(text + '[models.beside]\nfactory = "zoo:Echo"\n', runtime) as server:
        with connect(server.address) as host, under_load(server, "m", 100, 200):
            assert host.reload("m")["name"] == "m@1"
            assert host.load("m", version="2", default=True)["default"] is True
            model = host.model("m")
            assert {model.work(0) for _ in range(20)} == {200}
            assert host.unload("m@1")["state"] == "unloaded"
            assert host.model("m", version="1").work(0) == 100
            with pytest.raises(BadArgument, match="there are: beside, m"):
                host.reload("n")
        until(lambda: server.status()["models"]["m"].get("default") == "2", server.state)
        assert server.log.count("is ready: replaced in") == 2

    async def reload(address: str) -> Any:
        async with await aconnect(address) as host:
            return (await host.reload("m"))["name"]

    with running_server(text, runtime) as server:
        assert asyncio.run(reload(server.address)) == "m@1"
