"""A configuration that is read again by command: what changes, what takes a restart, and what is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from sharedmodel.errors import BadArgument
from sharedmodel.server.changes import changes, settled, takes_restart
from sharedmodel.server.control import ask
from sharedmodel.server.launch import settings_for
from sharedmodel.server.settings import ModelSettings, Settings, Upkeep

from .servers import ECHO, command, running_server, started, until

M = ModelSettings(factory="zoo:Echo", args=[1])
N = dataclasses.replace(M, args=[2])


def of(versions: dict[str, ModelSettings], default: str) -> ModelSettings:
    return ModelSettings(versions=versions).with_default(default)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({"models": {"m": M}}, {"models": {"m": M}}, []),
        ({"models": {"a": M}}, {"models": {"b": M}}, ["model a is gone", "model b is new"]),
        ({"models": {"m": M}}, {"models": {"m": N}}, ["model m: changed: args"]),
        (
            {"models": {"m": ModelSettings(kind="onnx", options={"path": "a", "x": 1})}},
            {"models": {"m": ModelSettings(kind="onnx", options={"path": "b"}, upkeep=Upkeep(lazy=True))}},
            ["model m: changed: path, x, lazy"],
        ),
        (
            {"models": {"m": of({"1": M, "2": M}, "1")}},
            {"models": {"m": of({"2": N, "3": M}, "3")}},
            ["model m: version 1 is gone; version 3 is new; version 2 changed: args; the default is 3 now"],
        ),
        ({"models": {"m": M}}, {"models": {"m": of({"1": M}, "1")}}, ["model m: it has the versions 1 now"]),
        ({"models": {"m": of({"1": M}, "1")}}, {"models": {"m": M}}, ["model m: it has no versions any more"]),
        ({"metrics": None}, {"metrics": "unix"}, ["[server] changed: metrics"]),
        ({}, {"grace": 1.0, "sessions": 3}, ["[server] changed: sessions, grace; each host is started anew"]),
    ],
)
def test_what_changes_is_told_a_line_each(before: dict[str, Any], after: dict[str, Any], told: list[str]) -> None:
    assert changes(Settings(**before), Settings(**after), {}, {}) == told


def test_a_model_that_has_fewer_processors_because_another_came_is_told() -> None:
    both = Settings(models={"m": M, "n": M})
    assert changes(both, both, {"m": 4, "n": 1}, {"m": 2, "n": 1}) == ["model m: 2 of the processors, not 4"]


def test_what_takes_a_restart_is_told_unless_the_command_line_said_it(tmp_path: Path) -> None:
    file = tmp_path / "m.toml"
    file.write_text('[server]\nidle_exit = 7\n[models.m]\nfactory = "zoo:Echo"\n')
    now = settings_for(str(file), embedded=False, runtime_dir="/run/m", idle_exit=None)
    new = dataclasses.replace(now, idle_exit=9.0, group=3, runtime_dir=None, given=[])
    told = takes_restart(now, new)
    assert [line.split()[1] for line in told] == ["group", "idle_exit"]
    assert told[1] == "[server] idle_exit is 9.0 now, which takes a restart of the server; until then it is 7.0"
    assert settled(now, new) == now


def test_the_configuration_is_read_again_by_command_and_what_comes_of_it_is_told(runtime: str) -> None:
    config = Path(runtime, "config.toml")
    with running_server(ECHO, runtime) as server:
        host = server.host_pid
        assert command("reload").strip() == "nothing has changed"
        config.write_text(f'[server]\nidle_exit = 900.0\n{ECHO}[models.more]\nfactory = "zoo:Echo"\n')
        told = json.loads(command("reload", "--json"))
        assert told["changed"][0] == "model more is new" and "idle_exit is 900.0 now" in told["takes_restart"][0]
        assert "idle_exit is 900.0 now, which takes a restart" in server.log
        assert "takes a restart of the server" in command("reload")  # as long as it is so
        assert server.status()["idle_exit"] is None and server.status()["config_refused"] is None

        config.write_text('[models.echo]\nfactroy = "zoo:Echo"\n[models."-"]\nkind = "onnx"\n')
        told = command("reload", code=2)
        assert "models.echo" in told and "models.-" in told and "goes on with the configuration that it has" in told
        assert "models.echo" in json.loads(command("status", "--json"))["config_refused"]["refused"]
        assert "not taken" in (shown := command("status")) and "models.-" in shown

        config.write_text(ECHO)
        assert command("reload").splitlines()[0] == "model more is gone"
        assert "not taken" not in command("status")
        until(lambda: set(server.status()["models"]) == {"echo"}, lambda: server.log)
        assert server.host_pid == host and server.status()["restarts"] == 0


def test_a_server_without_a_configuration_has_none_to_read_again(runtime: str) -> None:
    with (
        started(runtime, "serve", "--embedded") as server,
        pytest.raises(BadArgument, match="this server has no configuration"),
    ):
        ask(server.place.control, "reload")
