"""Tests of several workers beside each other: kept apart, and alone where they ask for it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sharedmodel import segment

from . import own_shm
from .crowd import until
from .entrance import Entrance

# A worker: a child of its child is killed between the making of a name and its unlinking.
WORKER = """
import os, subprocess, sys
from sharedmodel import segment
from tests import own_shm
own_shm.enter()
creator = "import os, signal; from sharedmodel import segment; "
creator += "segment.os.posix_fallocate = lambda *_: os.kill(os.getpid(), signal.SIGKILL); segment.create(5000)"
between = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]], start_new_session=True)"
subprocess.run([sys.executable, "-c", between, creator], check=True)
print(*os.listdir(segment.DIRECTORY), *[left.name for left in segment.leftovers()], flush=True)
sys.stdin.read()
"""


def test_a_worker_finds_what_its_killed_descendants_left_and_nobody_else_does() -> None:
    if not own_shm.is_permitted():
        pytest.skip("a mount namespace needs root and its permission (CAP_SYS_ADMIN)")
    Path(segment.DIRECTORY, f"{segment.PREFIX}nonsense").touch()
    worker = subprocess.Popen([sys.executable, "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with worker:
        assert worker.stdout is not None
        name, *found = worker.stdout.readline().split()
        assert found == [name] and name.startswith(segment.PREFIX)
        assert os.listdir(segment.DIRECTORY) == [f"{segment.PREFIX}nonsense"]


def test_one_that_is_to_be_alone_waits_for_those_inside_and_nobody_passes_before_it(tmp_path: Path) -> None:
    files = tmp_path / "gate", tmp_path / "room"
    for file in files:
        file.touch()
    entrances = [Entrance(*files) for _ in range(4)]
    order: list[str] = []

    def comes(entrance: Entrance, name: str, alone: bool) -> None:
        with entrance.passed(alone=alone):
            order.append(name)

    first, second, third, fourth = entrances
    with first.passed(alone=False), second.passed(alone=False):
        single = threading.Thread(target=comes, args=(third, "alone", True))
        single.start()
        until(lambda: _is_held(files[0]))
        other = threading.Thread(target=comes, args=(fourth, "other", False))
        other.start()
        until(lambda: _waits_for_a_lock(other))
        assert order == []
    single.join()
    other.join()
    assert order == ["alone", "other"]
    for entrance in entrances:
        entrance.close()


def _waits_for_a_lock(thread: threading.Thread) -> bool:
    return "lock" in Path(f"/proc/self/task/{thread.native_id}/wchan").read_text()


def _is_held(file: Path) -> bool:
    return f":{file.stat().st_ino} " in Path("/proc/locks").read_text()
