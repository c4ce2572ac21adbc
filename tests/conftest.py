"""Every test has a runtime directory of its own, and fails if it leaves anything behind.

Every process that runs tests has a /dev/shm of its own, where that is permitted. Where it is, several may
(``-n auto``), and marks say which tests need more: ``alone`` for one that measures the machine or needs
all of it, ``xdist_group`` for those that share something costly.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, nullcontext
from multiprocessing import resource_tracker
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from sharedmodel import segment
from sharedmodel.runtime import VARIABLE
from sharedmodel.service import Service
from sharedmodel.session import Session
from sharedmodel.sessions import SESSIONS

from . import own_shm
from .crowd import Crowd
from .entrance import Entrance
from .inside import serving, session_with

GRACE = 5.0  # seconds in which what was told to end may end
MOST_WORKERS = 8
FILES = Path(__file__), Path(own_shm.__file__)  # any two: workers of one checkout take turns by locks on them
WORKER = pytest.StashKey[Entrance]()

# How long an example takes, or to make one, says how busy the machine is, and nothing of what is tested.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores, because tests wait a good deal; none where they can't be kept apart."""
    return min(len(os.sched_getaffinity(0)) + 1, MOST_WORKERS) if own_shm.is_permitted() else 0


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "alone: runs when no other worker runs a test")
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # by a shell, for what it runs in its background
        signal.signal(signal.SIGINT, signal.default_int_handler)  # else programs that tests start ignore it too
    if own_shm.is_permitted():
        own_shm.enter()
    elif config.getoption("dist", "no") != "no":
        raise pytest.UsageError("workers need a /dev/shm each, which is not permitted here: run with -n0")
    if hasattr(config, "workerinput"):
        config.stash[WORKER] = Entrance(*FILES)


def pytest_unconfigure(config: pytest.Config) -> None:
    if WORKER in config.stash:
        config.stash[WORKER].close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that run alone come last: workers wait for each other at the end only."""
    items.sort(key=_is_alone)


def _is_alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None


@pytest.hookimpl(wrapper=True, tryfirst=True)  # so that the wait is no part of the test's own time-out
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    worker = item.config.stash.get(WORKER, None)
    with worker.passed(alone=_is_alone(item)) if worker else nullcontext():
        return (yield)


@pytest.fixture(scope="session", autouse=True)
def _the_standard_librarys_tracker_runs_already() -> None:
    """Spawning through multiprocessing starts it, with a pipe that it keeps: no test's fault."""
    resource_tracker.ensure_running()


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A runtime directory; its path is short, because a socket's path has at most 107 bytes."""
    path = tempfile.mkdtemp(prefix="sm-", dir="/tmp")
    monkeypatch.setenv(VARIABLE, path)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(autouse=True)
def nothing_is_left(runtime: str) -> Iterator[None]:
    """Fails a test that leaves a process, a thread, a descriptor or a shared-memory name behind."""
    with leaving_nothing():
        yield


@contextmanager
def leaving_nothing() -> Iterator[None]:
    """The same for a block: a module whose tests share servers, and kill parts of them, does so as a whole."""
    gc.collect()
    gc.freeze()  # what was there before is not looked at again: with the model libraries that took a second a test
    before = _Inventory()
    yield
    for address in list(SESSIONS.open):
        SESSIONS.close(address)
    gc.collect()
    # A kill between the making of a name and its unlinking leaves the name, and the janitor takes it.
    for leftover in segment.leftovers():
        segment.remove(leftover)
    left = _until_empty(lambda: _Inventory().minus(before))
    assert not left, "left behind:\n  " + "\n  ".join(left)


class _Inventory:
    """What this process and its children hold at this moment."""

    def __init__(self) -> None:
        self.processes = set(_processes())
        self.threads = {f"thread {thread.name}" for thread in threading.enumerate()}
        self.names = {f"/dev/shm/{name}" for name in os.listdir(segment.DIRECTORY) if name.startswith("sharedmodel-")}
        self.descriptors = _descriptors()

    def minus(self, other: _Inventory) -> list[str]:
        lines = sorted(self.processes - other.processes) + sorted(self.threads - other.threads)
        lines += sorted(self.names - other.names)
        for target, count in self.descriptors.items():
            if count > other.descriptors.get(target, 0):
                lines.append(f"descriptor of {target}: {count}, before {other.descriptors.get(target, 0)}")
        return lines


def _processes() -> Iterator[str]:
    """This process's children, theirs, and servers that detached themselves: these name this test's directory."""
    # From /proc as it is: it is looked through twice a test, each time in 4 ms; by psutil it took 6.
    parents: dict[int, int] = {}
    commands: dict[int, str] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdecimal():
            continue
        try:
            stat = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
            if stat[0] != "Z":
                parents[int(entry)] = int(stat[1])
                commands[int(entry)] = Path("/proc", entry, "cmdline").read_text(errors="replace").replace("\0", " ")
        except (FileNotFoundError, ProcessLookupError):
            continue
    directory, own = os.environ.get(VARIABLE, ""), os.getpid()
    for pid, command in commands.items():
        above = pid
        while above not in (own, 0):
            above = parents.get(above, 0)
        below = above == own and pid != own and "resource_tracker" not in command
        if below or (directory and directory in command):
            yield f"process {pid}: {command[:200].rstrip()}"


def _descriptors() -> dict[str, int]:
    counts: dict[str, int] = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        # One socket is like another, and their numbers differ from run to run.
        kind = target.partition(":")[0] if target.startswith(("socket:", "pipe:", "anon_inode:")) else target
        counts[kind] = counts.get(kind, 0) + 1
    return counts


def _until_empty(look: Callable[[], list[str]]) -> list[str]:
    end = time.monotonic() + GRACE
    while (left := look()) and time.monotonic() < end:
        time.sleep(0.02)  # for the end of others, whose only sign is that they are gone
        if time.monotonic() > end - GRACE / 2:
            gc.unfreeze()  # a cycle from before the test may have come to hold what the test made
        gc.collect()
    return left


@pytest.fixture
def crowd(runtime: str) -> Iterator[Crowd]:
    """Hosts and clients as processes, all of them ended with the test."""
    started = Crowd(runtime)
    yield started
    started.close()


@pytest.fixture
def service(runtime: str) -> Iterator[Service]:
    """A host in this process."""
    with serving(runtime) as service:
        yield service


@pytest.fixture
def session(service: Service) -> Iterator[Session]:
    """A session with it."""
    with session_with(service) as session:
        yield session
