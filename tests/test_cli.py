"""The commands as a person runs them: output, errors in one line, exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from sharedmodel.client import connect
from sharedmodel.server.cli_call import argument, arguments, plain
from sharedmodel.server.cli_console import duration
from sharedmodel.server.machine.amount import size

from .servers import CLI, ECHO, command, running_server, started, until

NO_HOST = 3


def test_help_names_each_command_and_the_exit_codes() -> None:
    told = command("--help")
    assert all(name in told for name in ("serve", "status", "stop", "call", "load", "reload", "doctor"))
    assert "3 no host is running" in " ".join(told.split())


@pytest.mark.parametrize("words", [("status",), ("stop",), ("call", "m"), ("load", "m"), ("warmup", "m")])
def test_without_a_host_the_line_says_how_to_start_one(runtime: str, words: tuple[str, ...]) -> None:
    told = command(*words, code=NO_HOST)
    assert told.count("\n") == 1 and "sharedmodel serve" in told


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("status",), NO_HOST),
        (("top", "--once"), NO_HOST),
        (("metrics",), NO_HOST),
        (("call", "m"), NO_HOST),
        (("gc",), 0),
        (("doctor",), 0),
    ],
)
def test_who_only_looks_makes_no_runtime_directory_and_hears_that_there_is_none(
    tmp_path: Path, words: tuple[str, ...], code: int
) -> None:
    mistyped = tmp_path / "mistyped"
    done = subprocess.run([*CLI, *words, "--runtime-dir", str(mistyped)], capture_output=True, text=True, check=False)
    told = done.stdout + done.stderr
    assert (done.returncode, mistyped.exists()) == (code, False), told
    assert f"there is no runtime directory {mistyped}" in told or f"{mistyped} is not there" in told
    assert "All is well" not in told and "Traceback" not in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("serve",), "give a configuration file"),
        (("serve", "none.toml"), "none.toml: No such file"),
        (("serve", "x.toml", "--embedded"), "not both"),
        (("serve", "--loud"), "No such option"),
        (("dance",), "No such command"),
    ],
)
def test_wrong_usage_is_told_in_words_and_ends_with_2(runtime: str, words: tuple[str, ...], told: str) -> None:
    assert told in command(*words, code=2)


def test_mistakes_in_a_configuration_are_told_one_a_line(runtime: str) -> None:
    config = Path(runtime, "c.toml")
    config.write_text('[models.a]\nkind = "onx"\n[models.b]\nkind = "onnx"\n')
    lines = command("serve", str(config), code=2).splitlines()
    assert [line.split(": ")[2] for line in lines] == ["models.a.kind", "models.b.path"]


def test_a_runtime_directory_that_others_may_enter_is_refused(runtime: str) -> None:
    os.chmod(runtime, 0o777)
    assert "chmod 700" in command("status", code=1)


def test_a_runtime_directory_with_too_long_a_path_is_refused(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 100)
    deep.mkdir(mode=0o700)
    assert "more than 107 bytes" in command("status", "--runtime-dir", str(deep), code=2)


def test_a_runtime_directory_that_can_not_be_is_refused_in_one_line(tmp_path: Path) -> None:
    (file := tmp_path / "file").write_text("no folder")
    told = command("serve", "--embedded", "--runtime-dir", str(file / "below"), code=2)
    assert told.count("\n") == 1 and "can't be made: Not a directory" in told
    for words in (("serve", "--embedded"), ("status",), ("gc",)):
        told = command(*words, "--runtime-dir", str(file), code=1)
        assert told.count("\n") == 1 and "is not a directory of yours" in told


def test_status_shows_people_what_they_ask_for(runtime: str) -> None:
    with running_server(ECHO + '[models.bad]\nfactory = "zoo:broken"\n', runtime) as server:
        server.kill_host()
        server.until("ready")
        told = command("status")
        assert f"pid {server.process.pid}" in told and f"pid {server.host_pid}" in told
        assert "restarted 1 time" in told and "killed by SIGKILL" in told
        assert "no weights here" in told and "zoo:Echo" in told


def test_status_shows_who_is_connected_and_the_memory_they_hold(runtime: str) -> None:
    with running_server(ECHO, runtime) as server:
        code = (
            "import sys, numpy; from sharedmodel.client import connect\n"
            "connect(sys.argv[1]).model('echo').echo(numpy.zeros(3_000_000))\n"
            "print('connected', flush=True); sys.stdin.read()"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code, server.address], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as client:
            assert client.stdout is not None and client.stdout.readline()
            session = json.loads(command("status", "--json"))["sessions"][0]
            assert session["pid"] == client.pid and session["requests"] >= 24_000_000
            assert f"{client.pid} " in command("status")
            client.communicate()


def test_status_finds_embedded_servers_as_well(runtime: str) -> None:
    nested = os.path.join(runtime, "e-test")
    os.mkdir(nested, 0o700)
    with started(nested, "serve", "--embedded") as server:
        assert "embedded" in command("status")
        assert f"supervisor {server.process.pid}" in command("stop")
        assert server.ends() == 0


def test_stop_returns_when_the_server_is_gone(runtime: str) -> None:
    with running_server(ECHO, runtime) as server:
        assert "stopped" in command("stop")
        assert server.process.poll() is not None or server.ends() == 0
        assert command("stop", code=NO_HOST)


def test_call_prints_a_value_a_table_or_json(runtime: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(3))
    with running_server(ECHO, runtime):
        assert command("call", "echo", "add", "1", "b=4").strip() == "5"
        table = command("call", "echo", "echo", '[{"text": "你好", "score": 0.5}, {"text": "[b]"}]')
        assert "text" in table and "你好" in table and "[b]" in table
        assert json.loads(command("call", "echo", "echo", "value=@x.npy", "--json", cwd=tmp_path)) == [0, 1, 2]
        assert command("call", "echo", "echo", "plain words").strip() == "plain words"


def test_call_prints_the_items_of_a_stream_as_they_come(runtime: str) -> None:
    pipe = os.path.join(runtime, "pipe")
    os.mkfifo(pipe)
    values = '[{"a": 1}, "你"]'
    with running_server(ECHO, runtime):
        for words, expected in (
            (("--json",), ['{"a": 1}', '"你"', '"last"']),
            ((), ["key value", "a 1", "你", "last"]),
        ):
            words = ("call", "echo", "each", values, pipe, *words)
            with subprocess.Popen([*CLI, *words], stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                told = []
                while "你" not in (line := process.stdout.readline()):
                    assert line
                    told.append(line)
                Path(pipe).write_text("last")
                told += [line, *process.stdout]
                shown = (" ".join(line.split()) for line in told)
                assert [line for line in shown if line.strip("─ ")] == expected
        failed = subprocess.run([*CLI, "call", "echo", "each", "[1, 2]"], capture_output=True, text=True, check=False)
        assert (failed.returncode, failed.stdout) == (1, "1\n2\n")
        assert failed.stderr == "sharedmodel: echo.each() raised ValueError: no more of them\n"


def test_what_json_or_the_terminal_has_not_is_written_in_their_way(runtime: str) -> None:
    def strict(name: str) -> float:
        raise AssertionError(f"{name} is no JSON")

    plain_ascii = {**os.environ, "PYTHONIOENCODING": "ascii"}
    with running_server(ECHO, runtime):
        for environment in (None, plain_ascii):
            told = command("call", "echo", "odd", "--json", env=environment)
            found = json.loads(told, parse_constant=strict)
            assert found == {"score": None, "all": [None, 1.0], "text": "a\ud800b"}
            assert "a\\ud800b" in command("call", "echo", "odd", env=environment)
        assert command("call", "echo", "echo", "你", env=plain_ascii) == "\\u4f60\n"
        assert json.loads(command("call", "echo", "echo", "😀", "--json", env=plain_ascii)) == "😀"


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("none",), 2, "no model 'none' here; there are: echo"),
        (("echo",), 2, "say which to call"),
        (("echo", "sing"), 2, "'sing' is none of them"),
        (("echo", "echo", "@none.bin"), 2, "none.bin: No such file"),
        (("echo", "fail", "too blue"), 1, "echo.fail() raised ValueError: too blue"),
        (("echo", "add", "b=1", "2"), 2, "come before KEY=VALUE"),
        (("echo", "hold", "{pipe}", "--timeout", "1"), 1, "deadline"),
    ],
)
def test_a_call_that_fails_says_why_in_one_line(runtime: str, words: tuple[str, ...], code: int, told: str) -> None:
    pipe = os.path.join(runtime, "pipe")
    os.mkfifo(pipe)
    with running_server(ECHO, runtime) as server:
        lines = command("call", *(word.replace("{pipe}", pipe) for word in words), code=code).splitlines()
        assert len(lines) == 1 and told in lines[0]
        os.close(os.open(pipe, os.O_RDWR))  # what waits in it ends: two signals may be one, and that one lets it finish
        server.process.send_signal(signal.SIGINT)
        server.process.send_signal(signal.SIGINT)
        assert server.ends() == 0


def test_call_shows_where_the_model_failed_when_asked_to(runtime: str) -> None:
    with running_server(ECHO, runtime):
        done = subprocess.run(
            [*CLI, "call", "echo", "fail", "blue", "--traceback"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 1 and "in fail" in done.stderr


def test_models_are_managed_by_four_commands(runtime: str) -> None:
    text = ECHO + 'default = "1"\ncanary = {method = "pid"}\nversions.1 = {}\nversions.2 = {kwargs = {plus = 5}}\n'
    with running_server(text, runtime) as server:
        assert command("unload", "echo").strip() == "echo@1, the default of echo: unloaded (unloaded on request)"
        assert "echo@1, the default of echo: ready (loaded in" in command("load", "echo")
        assert "echo@1, the default of echo: ready (replaced in" in command("reload", "echo@1")
        assert "echo@1, the default of echo: ready" in command("warmup", "echo")
        assert "echo@2, the default of echo: ready" in command("load", "echo@2", "--default")
        assert command("call", "echo", "add", "1").strip() == "6"
        told = json.loads(command("reload", "echo", "--json"))
        assert (told["name"], told["state"], told["version"], told["default"]) == ("echo@2", "ready", "2", True)
        shown = command("status")
        assert "echo@2 (default)" in shown and "echo@1 " in shown and "replaced in" in shown
        assert "model echo@2 is ready: replaced in" in server.log


def test_an_unload_that_is_given_too_little_time_fails_each_time(runtime: str) -> None:
    os.mkfifo(pipe := f"{runtime}/pipe")
    with running_server(ECHO, runtime) as server, ThreadPoolExecutor() as pool:
        held = pool.submit(connect(server.address).model("echo").hold, pipe)
        with open(pipe, "w"):  # opens when the method has opened the other end: it runs
            assert "deadline" in command("unload", "echo", "--timeout", "0.5", code=1)
            assert "calls run in it still" in command("unload", "echo", "--timeout", "0.5", code=1)
        held.result()


@pytest.mark.parametrize("verb", ["load", "unload", "reload", "warmup"])
def test_managing_a_model_that_there_is_not_names_those_that_there_are(runtime: str, verb: str) -> None:
    with running_server(ECHO, runtime):
        assert "no model 'ecco' here; there are: echo" in command(verb, "ecco", code=2)
        assert "no versions" in command("load", "echo", "--default", code=2)


def test_managing_a_model_that_fails_says_why(runtime: str) -> None:
    text = '[models.bad]\nfactory = "zoo:broken"\n[models.mad]\nfactory = "zoo:Echo"\ncanary = {method = "fail"}\n'
    with running_server(text, runtime):
        assert "FileNotFoundError: no weights here" in command("load", "bad", code=1)
        assert "its canary fail() raised TypeError" in command("reload", "mad", code=1)
        shown = command("status")
        assert "no weights here" in shown and "its canary fail() raised" in shown and "failed" in shown


def test_words_become_arguments(tmp_path: Path) -> None:
    (tmp_path / "page.png").write_bytes(b"png")
    assert arguments(["1", "text", "a=[1]", "b=x=y", "c=null"]) == ([1, "text"], {"a": [1], "b": "x=y", "c": None})
    assert argument(f"@{tmp_path}/page.png") == b"png"
    assert argument(f"{tmp_path}/page.png") == f"{tmp_path}/page.png"
    assert argument("gone.npy") == "gone.npy"
    assert argument('"3"') == "3"


def test_results_become_json() -> None:
    value = {"a": np.float32(0.5), 2: (np.arange(2), b"\x00"), "s": {1}, "n": np.array([np.nan, 1.0])}
    assert plain(value) == {"a": 0.5, "2": [[0, 1], "AA=="], "s": [1], "n": [None, 1.0]}


def test_numbers_are_written_for_people() -> None:
    assert [size(n) for n in (0, 999, 1500, 17_400_000, 2e13)] == ["0 B", "999 B", "1.5 KB", "17 MB", "20 TB"]
    assert [duration(n) for n in (0.04, 75, 600, 7500, 2e5)] == ["0.0 s", "75 s", "10 min", "2 h 5 min", "2 d 7 h"]


def test_doctor_finds_and_gc_removes_what_killed_processes_left(runtime: str) -> None:
    name = _killed_in_creation()
    try:
        with running_server(ECHO, os.path.join(runtime, "")) as server:
            server.kill()
        name = name if os.path.exists(name) else _killed_in_creation()  # a server that starts cleans up as well
        until(lambda: not _listens(server.address), lambda: "the host is still there")
        report = json.loads(command("doctor", "--json"))
        verdicts = {finding["what"]: finding for finding in report["findings"]}
        assert report["ok"]
        assert verdicts["leftovers"]["verdict"] == "warn" and verdicts["leftovers"]["advice"] == "sharedmodel gc"
        assert "host.sock" in verdicts["sockets"]["text"] and "control.sock" in verdicts["sockets"]["text"]
        removed = command("gc")
        assert name in removed and "host.sock" in removed
        assert not os.path.exists(name) and not os.path.exists(server.address)
        assert "nothing to remove" in command("gc")
    finally:
        if os.path.exists(name):
            os.unlink(name)


def test_gc_leaves_a_living_server_alone(runtime: str) -> None:
    with running_server(ECHO, runtime) as server:
        command("gc")
        assert command("call", "echo", "add", "1").strip() == "1"
        assert os.path.exists(server.place.control)


def test_doctor_fails_where_the_server_can_not_work(runtime: str) -> None:
    os.chmod(runtime, 0o777)
    done = subprocess.run([*CLI, "doctor"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "fail  runtime directory" in done.stdout and "→" in done.stdout and "1 to mend" in done.stdout


def test_doctor_fails_where_the_runtime_directory_can_not_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    done = subprocess.run(
        [*CLI, "doctor", "--runtime-dir", str(tmp_path / "file" / "below")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "is not there and can't be made" in done.stdout


def _killed_in_creation() -> str:
    """The path of a real leftover: its creator was killed before it could unlink it."""
    code = (
        "import os, posix_ipc, sys, time\n"
        "from sharedmodel import process, segment\n"
        "name = f'{segment.PREFIX}{process.identity(os.getpid())}-test'\n"
        "posix_ipc.SharedMemory('/' + name, posix_ipc.O_CREX, size=4096)\n"
        "print(f'{segment.DIRECTORY}/{name}', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        name = child.stdout.readline().decode().strip()
        child.kill()
    return name


def _listens(path: str) -> bool:
    from sharedmodel.link import answers

    return answers(path)
