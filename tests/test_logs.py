"""Log lines for programs: each parses, and names the call it is about."""

from __future__ import annotations

import json
import logging
import os
import signal
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from sharedmodel.client import connect
from sharedmodel.errors import Stuck
from sharedmodel.server.logs import JsonLines, OfCall
from sharedmodel.server.scheduling.batching import Together

from .servers import Server, running_server

CONFIG = """
[server]
log_format = "json"

[models.talker]
factory = "zoo:Talker"

[models.slow]
factory = "zoo:Loiterer"
isolate = true
max_run = 0.5

[models.bad]
factory = "zoo:broken"
"""


@pytest.fixture
def server(runtime: str) -> Iterator[Server]:
    with running_server(CONFIG, runtime) as started:
        yield started


def lines(server: Server) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.log.splitlines()]


def test_every_line_is_an_object_that_says_when_who_and_what(server: Server) -> None:
    server.kill_host(signal.SIGKILL, name="slow")
    server.until("ready")
    found = lines(server)
    for line in found:
        assert datetime.fromisoformat(line["time"]).tzinfo is not None
        assert line["level"] in ("info", "warning", "error") and line["pid"] > 0 and line["message"]
    assert {line["process"] for line in found} == {"supervisor", "host", "host slow"}
    (death,) = [line for line in found if "killed by SIGKILL" in line["message"]]
    assert (death["process"], death["pid"], death["level"]) == ("supervisor", server.process.pid, "error")


def test_what_is_logged_in_a_call_carries_its_number_and_its_client(server: Server) -> None:
    talker = connect(server.address).model("talker")
    talker.say("first")
    talker.say('a "second"\nof two lines, \udc80')
    one, two = (line for line in lines(server) if line["logger"] == "sharedmodel.zoo")
    assert one["message"] == "first" and two["message"] == 'a "second"\nof two lines, \udc80'
    assert (one["model"], one["method"], one["client"]) == ("talker", "say", os.getpid())
    assert one["session"] == two["session"] and 0 < one["request"] < two["request"]
    assert one["pid"] == server.host_pid


def test_what_is_logged_outside_a_call_carries_none(server: Server) -> None:
    (line,) = [line for line in lines(server) if "no weights here" in line["message"]]
    assert "request" not in line and "session" not in line


def test_what_is_logged_in_a_batch_is_about_no_call_of_it() -> None:
    record = logging.LogRecord("sharedmodel", logging.WARNING, __file__, 1, "a word", (), None)
    assert OfCall(lambda: Together([])).filter(record)
    assert "request" not in json.loads(JsonLines("host").format(record))


def test_an_exception_is_part_of_its_line(server: Server) -> None:
    connect(server.address).model("talker").stumble()
    (line,) = [line for line in lines(server) if line["message"] == "it stumbled"]
    assert line["exception"].endswith("ValueError: on purpose") and line["method"] == "stumble"


def test_a_stuck_calls_line_carries_the_call_though_another_thread_logs_it(server: Server) -> None:
    with pytest.raises(Stuck):
        connect(server.address).model("slow").wait("polite")
    (line,) = [line for line in lines(server) if "told to stop" in line["message"]]
    assert (line["process"], line["model"], line["method"]) == ("host slow", "slow", "wait") and line["request"] > 0


def test_lines_for_people_name_the_call_at_their_end(runtime: str) -> None:
    with running_server('[models.talker]\nfactory = "zoo:Talker"\n', runtime) as server:
        connect(server.address).model("talker").say("a word")
        (line,) = [line for line in server.log.splitlines() if "a word" in line]
        assert f"host[{server.host_pid}] WARNING a word (session " in line and line.endswith(": talker.say)")
