"""The live screen: what it shows, and that the terminal is as before when it is left."""

from __future__ import annotations

import contextlib
import copy
import os
import pty
import re
import select
import signal
import subprocess
import termios
import time
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console

from sharedmodel.client import connect
from sharedmodel.server.cli_fit import shared
from sharedmodel.server.cli_frame import absent, frame
from sharedmodel.server.cli_numbers import latency
from sharedmodel.server.metrics.histogram import SIZE

from .servers import CLI, ECHO, PATIENCE, command, running_server

Status = dict[str, Any]
# More than there are lines.
MANY = "".join(f'[models.echo_{number}]\nfactory = "zoo:Echo"\n' for number in range(40))


def shown(renderable: Any, width: int = 80) -> str:
    console = Console(record=True, width=width, file=open(os.devnull, "w"))  # noqa: SIM115
    with console.file:
        console.print(renderable)
        return console.export_text()


def buckets(index: int, count: int) -> list[int]:
    return [count if place == index else 0 for place in range(SIZE)]


def status(at: float = 100.0, calls: int = 0, failed: int = 0, *, cpu: float = 1.0, pid: int = 11) -> Status:
    total = {"seconds": 1.0, "buckets": buckets(12, calls + failed)}  # up to 1 ms
    told = {"calls": [["net", "run", "ok", calls, 0], ["net", "run", "model", failed, 0]],
            "stages": {"net": {"total": total}}, "runs": {"net": [calls // 4, 0]}}  # fmt: skip
    host = {"name": "", "pid": pid, "state": "ready", "since": 900.0, "at": at, "cpu": cpu, "memory": 5e8, "pss": 3e8,
            "threads": 7, "descriptors": 13, **told}  # fmt: skip
    model = {"state": "ready", "host": "", "kind": "onnx", "waiting": 3, "running": 2, "memory": 250_000_000}
    session = {"pid": 77, "calls": 1, "objects": 2, "requests": 4_000_000, "replies": 6_000_000, "unsent": 0}
    return {
        "at": at, "state": "ready", "directory": "/run/x", "supervisor": {"pid": 10, "since": 800.0},
        "hosts": [host], "models": {"net": model}, "sessions": [session, session], "deaths": [],
        "shared_memory": {"size": 64_000_000, "used": 20_000_000}, "devices": [],
        "memory": {"in_use": 2_000_000_000, "budget": 8_000_000_000},
    }  # fmt: skip


def screen(before: Status, now: Status, width: int = 80, height: int | None = None) -> str:
    return shown(frame(before, now, lambda pid: f"worker number {pid}", 1000.0, height), width)


def row(text: str, first: str) -> list[str]:
    (found,) = [line.split() for line in text.splitlines() if line.startswith(f"{first} ")]
    return found


def test_rates_and_latencies_are_those_between_the_two_looks() -> None:
    told = row(screen(status(100.0, calls=1000), status(104.0, calls=1100, failed=8)), "net")
    assert told == ["net", "ready", "250", "MB", "27", "0.85", "ms", "1.0", "ms", "4.3", "3", "2", "8"]


def test_a_model_that_was_not_called_meanwhile_has_no_latency() -> None:
    told = row(screen(status(100.0, calls=1000), status(104.0, calls=1000)), "net")
    assert told[4:8] == ["0.0", "-", "-", "-"]


def test_a_host_that_was_started_anew_counts_from_its_start() -> None:
    told = row(screen(status(100.0, calls=1000), status(104.0, calls=20, pid=12)), "net")
    assert told[4] == "5.0"


def test_the_processors_share_is_that_between_the_two_looks() -> None:
    told = row(screen(status(100.0, cpu=1.0), status(104.0, cpu=3.0)), "shared")
    assert told == ["shared", "11", "ready", "100", "s", "50", "%", "500", "MB", "300", "MB", "7", "13"]


def test_a_client_is_one_line_however_many_sessions_it_has() -> None:
    told = row(screen(status(), status(101.0)), "77")
    assert told == ["77", "worker", "number", "77", "2", "4", "8.0", "MB", "12", "MB", "-"]


def test_what_clients_hold_of_shared_memory_is_told_beside_what_there_is() -> None:
    assert "/dev/shm  20 MB of 64 MB used; clients of this hold 20 MB" in screen(status(), status(101.0))


def test_memory_and_gpus_are_told_with_the_models_that_run_there() -> None:
    now = status(101.0)
    assert "memory    2.0 GB of 8.0 GB used" in screen(status(), now).splitlines()
    now["models"]["one"] = {**now["models"]["net"], "device": "cuda:1"}
    now["models"]["both"] = {**now["models"]["net"], "device": "cuda:0, cuda:1"}
    now["devices"] = [{"name": f"cuda:{n}", "in_use": 10**9 * n, "budget": 40 * 10**9} for n in range(3)]
    told = [line.rstrip() for line in screen(status(), now).splitlines() if line.startswith("cuda:")]
    assert told == ["cuda:0    0 B of 40 GB used: both", "cuda:1    1.0 GB of 40 GB used: both, one",
                    "cuda:2    2.0 GB of 40 GB used"]  # fmt: skip


def test_a_host_that_is_silent_or_gone_is_shown_as_that() -> None:
    now = status(101.0)
    for key in ("calls", "stages", "cpu"):
        del now["hosts"][0][key]
    now["hosts"][0]["state"] = now["state"] = "unresponsive"
    text = screen(status(), now)
    assert row(text, "shared")[:3] == ["shared", "11", "unresponsive"] and row(text, "net")[4] == "0.0"
    now["hosts"][0].update(pid=None, state="waiting")
    assert row(screen(status(), now), "shared")[:3] == ["shared", "-", "waiting"]


def test_the_last_deaths_are_told_the_latest_first() -> None:
    now = status(101.0)
    now["deaths"] = [{"host": "", "at": 900.0 + n, "lived": 5.0, "reason": f"reason {n}"} for n in range(5)]
    text = screen(status(), now)
    assert [line[-8:] for line in text.splitlines() if "reason" in line] == ["reason 4", "reason 3", "reason 2"]


def test_no_line_is_wrapped_in_80_columns() -> None:
    now = status(101.0)
    name = "a-model-with-a-very-long-name-of-fifty-characters-x"
    now["models"][name] = {**now["models"]["net"], "host": name, "state": "loading"}
    now["hosts"].append({**now["hosts"][0], "name": name, "state": "loading"})
    text = screen(status(), now)
    names = [line for line in text.splitlines() if line.startswith("a-model")]
    assert len(names) == 2 and all("…" in line and "loading" in line for line in names)
    assert len(text.splitlines()) == len(screen(status(), now, width=200).splitlines())


def crowded() -> Status:
    now = status(101.0)
    now["models"] = {f"model_number_{n}": now["models"]["net"] for n in range(8)}
    now["hosts"] = [{**now["hosts"][0], "name": name} for name in ("", "one", "two", "three")]
    now["sessions"] = [{**now["sessions"][0], "pid": 700 + n, "replies": n} for n in range(12)]
    now["deaths"] = [{"host": "one", "at": 900.0, "lived": 5.0, "reason": "killed by SIGKILL " * 9}]
    return now


def test_on_a_small_screen_every_table_has_its_share_and_says_what_it_left_out() -> None:
    lines = screen(crowded(), crowded(), height=24).splitlines()
    heads = [number for number, text in enumerate(lines) if text.split(" ")[0] in ("MODEL", "HOST", "CLIENT")]
    assert len(heads) == 4 and len(lines) <= 24
    more = [int(found[1]) for found in map(re.compile(r"… (\d+) more").match, lines) if found]
    shown_rows = [sum(text.startswith(name) for text in lines) for name in ("model_", "7")]
    assert [shown_rows[0] + more[0], shown_rows[1] + more[-1]] == [8, 12] and min(shown_rows) >= 2
    assert any(text.startswith("711 ") for text in lines)  # who holds most
    assert any("killed by SIGKILL" in text for text in lines)


def test_on_the_smallest_screen_each_table_has_a_row_and_its_number() -> None:
    lines = screen(crowded(), crowded(), width=60, height=12).splitlines()
    assert len(lines) <= 12 and any(text.startswith("MODEL 1/8") for text in lines)
    assert [sum(text.startswith(name) for text in lines) for name in ("model_num", "shared", "711")] == [1, 1, 1]


def test_why_a_model_failed_is_told_on_a_small_screen_too() -> None:
    now = crowded()
    now["models"]["model_number_7"] = {**now["models"]["model_number_7"], "state": "failed", "reason": "no weights"}
    assert "model_number_7: no weights" in screen(now, now, height=24)


def test_a_large_screen_and_a_pipe_show_everything() -> None:
    for height in (60, None):
        text = screen(crowded(), crowded(), width=4000, height=height)
        assert "more" not in text and all(f"model_number_{n}" in text for n in range(8))
        assert text.count("killed by SIGKILL") == 9


@pytest.mark.parametrize("width", [30, 40, 50, 60])
def test_on_a_narrow_screen_names_stay_and_lesser_columns_go(width: int) -> None:
    text = screen(crowded(), crowded(), width=width, height=40)
    assert text.count("model_numbe") == 8 and "BATCH" not in text and "STATE" in text
    assert re.search(r"^three +11 +ready", text, re.M) and "worker numb" in text
    assert all(len(each) <= width for each in text.splitlines())


@pytest.mark.parametrize(
    ("wanted", "room", "found"),
    [([8, 4, 12], 14, [5, 4, 5]), ([1, 1, 1], 30, [1, 1, 1]), ([9, 9], 0, [1, 1]), ([], 5, []), ([0, 3], 9, [0, 3])],
)
def test_what_one_table_does_not_need_is_the_others(wanted: list[int], room: int, found: list[int]) -> None:
    assert shared(wanted, room) == found


def test_a_frame_changes_neither_of_the_statuses() -> None:
    before, now = status(), status(101.0, calls=5)
    copies = copy.deepcopy((before, now))
    screen(before, now)
    assert (before, now) == copies


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(None, "-"), (0.0000123, "0.01 ms"), (0.000999, "1.0 ms"), (0.0099, "9.9 ms"), (0.25, "250 ms"), (0.9999, "1.0 s"),
     (12.3, "12 s")],
)  # fmt: skip
def test_a_latency_has_two_figures(seconds: float | None, told: str) -> None:
    assert latency(seconds) == told


def test_an_absent_server_is_said_to_be_absent() -> None:
    assert "no server in /run/x" in shown(absent("/run/x", "Connection refused"))


def test_once_prints_one_screen_of_a_real_server(runtime: str) -> None:
    with running_server(ECHO + '[models.bad]\nfactory = "zoo:broken"\n', runtime) as server:
        server.kill_host()
        server.until("ready")
        connect(server.address).model("echo").echo(bytes(20_000_000))
        text = command("top", "--once", "--interval", "0.2")
        assert row(text, "echo")[1] == "ready" and row(text, "bad")[1] == "failed"
        assert row(text, f"shared  {server.host_pid}")[2] == "ready"
        assert "no weights here" in text and "killed by SIGKILL" in text
        assert row(text, str(os.getpid()))[-5:] == ["21", "MB", "21", "MB", "-"]


def test_once_says_in_a_line_that_there_is_no_server(runtime: str) -> None:
    assert "no host is running" in command("top", "--once", code=3)


def test_a_live_screen_is_not_written_into_a_file(runtime: str) -> None:
    assert "top --once" in command("top", code=2)


class Terminal:
    """`sharedmodel top` on a terminal of its own."""

    def __init__(self) -> None:
        self._ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (40, 100))
        self.before = termios.tcgetattr(theirs)
        self._theirs = theirs
        command = [*CLI, "top", "--interval", "0.1"]
        environment = {**os.environ, "TERM": "xterm"}
        self.process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
        self.text = ""

    def shows(self, pattern: str) -> None:
        """Wait until this is written, from now on."""
        seen, end = "", time.monotonic() + PATIENCE
        while not re.search(pattern, seen):
            ready, _, _ = select.select([self._ours], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"no {pattern} in {PATIENCE} s, but {seen[-3000:]}"
            seen += os.read(self._ours, 1 << 16).decode(errors="replace")
        self.text += seen

    def press(self, key: bytes) -> None:
        os.write(self._ours, key)

    @property
    def attributes(self) -> list[Any]:
        return termios.tcgetattr(self._theirs)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)
        os.close(self._theirs)


@pytest.fixture
def terminal(runtime: str) -> Iterator[Terminal]:
    with contextlib.closing(Terminal()) as opened:
        yield opened


def test_the_screen_waits_for_a_server_and_for_the_next_one(terminal: Terminal, runtime: str) -> None:
    terminal.shows("no server in")
    for config, seen in ((ECHO, r"echo.*ready"), (MANY, r"… \d+ more")):
        with running_server(config, runtime):
            terminal.shows(seen)
        terminal.shows("no server in")
    terminal.press(b"q")
    terminal.shows(re.escape("\x1b[?1049l"))
    assert terminal.process.wait(PATIENCE) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_terminal_is_as_before_after_an_interruption(terminal: Terminal, number: int) -> None:
    terminal.shows("no server in")
    assert terminal.attributes != terminal.before
    terminal.process.send_signal(number)
    terminal.shows(re.escape("\x1b[?1049l"))
    assert terminal.process.wait(PATIENCE) == 0
    assert terminal.attributes == terminal.before
