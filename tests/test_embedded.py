"""The embedded host: started once, by whoever comes first, and gone when nobody needs it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from sharedmodel.client import connect, embedded
from sharedmodel.errors import HostUnavailable
from tests import onnx_graphs
from tests.forked import Both

_CONNECT = "from sharedmodel.client import connect; print(connect().status()['pid'])"


@pytest.fixture(autouse=True)
def stopped(runtime: str):
    yield
    command = [sys.executable, "-m", "sharedmodel.server.cli", "stop"]
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_processes_that_start_at_once_share_one_host() -> None:
    running = [subprocess.Popen([sys.executable, "-c", _CONNECT], stdout=subprocess.PIPE) for _ in range(8)]
    pids = {process.communicate()[0].strip() for process in running}
    assert len(pids) == 1
    assert all(process.returncode == 0 for process in running)


def test_it_loads_its_users_own_files(runtime: str) -> None:
    path = Path(runtime, "add.onnx")
    path.write_bytes(onnx_graphs.add())
    with connect() as host:
        model = host.model("add", kind="onnx", path=str(path))
        (total,) = model.run(None, {"x": np.ones(3, "f4"), "y": np.ones(3, "f4")})
        assert total.tolist() == [2, 2, 2]


def test_it_ends_when_nobody_has_used_it_for_a_while(runtime: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHAREDMODEL_IDLE_EXIT", "0.2")
    with connect() as host:
        pid = host.status()["pid"]
    end = time.monotonic() + 20
    while os.path.exists(f"/proc/{pid}") and time.monotonic() < end:
        time.sleep(0.05)
    assert not os.path.exists(f"/proc/{pid}")


def test_one_that_can_not_start_says_why(runtime: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(HostUnavailable, match=r"embedded\.log"):
        connect()


def test_a_child_that_is_forked_meanwhile_does_not_keep_others_from_starting_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forks = []

    def fork(*_: object) -> None:
        both = Both()
        if both.in_child:
            try:
                both.meet()
            finally:
                os._exit(0)
        forks.append(both)

    monkeypatch.setattr(embedded, "_start", fork)
    try:
        for _ in range(2):
            embedded.ensure(timeout=0.0)
    finally:
        for both in forks:
            both.meet()
            both.ends()


def test_it_is_keyed_by_environment_and_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    here = embedded.directory()
    monkeypatch.setattr(sys, "prefix", "/somewhere/else")
    assert embedded.directory() != here
