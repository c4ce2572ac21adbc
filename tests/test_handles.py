"""Handles against a real server: opened anywhere without a copy, and gone with their last holder, however it ends."""

from __future__ import annotations

import gc
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sharedmodel.client import Handle, Host, TaskExecutor, connect
from sharedmodel.errors import BadArgument, Expired
from sharedmodel.sessions import SESSIONS

from . import handle_holders, task_functions
from .crowd import ROOT
from .servers import ECHO, Server, running_server, until, watching

PATIENCE = 200.0


@pytest.fixture
def server(runtime: str) -> Iterator[Server]:
    with running_server(ECHO, runtime) as server:
        yield server


@pytest.fixture
def host(server: Server) -> Iterator[Host]:
    with connect(server.address) as host:
        yield host


def kept(host: Host) -> int:
    """How many arrays the host keeps."""
    return int(SESSIONS.current(host.address).control("number_of_objects"))


def gone(host: Host) -> None:
    until(lambda: kept(host) == 0, lambda: f"{kept(host)} are kept")


@contextmanager
def running(function: str, *args: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process that runs a function of `handle_holders`; killed at the end."""
    code = f"from tests.handle_holders import *; {function}(*{args!r})"
    process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_handle_is_small_and_opens_the_same_array_read_only_and_uncopied(host: Host) -> None:
    array = np.asfortranarray(np.arange(600_000, dtype="f4").reshape(600, 1000))
    handle = host.put(array)
    assert len(pickle.dumps(handle)) < 300
    opened = handle.open()
    assert opened.dtype == array.dtype
    assert opened.flags.f_contiguous
    assert (opened == array).all()
    assert task_functions.lies_in_shared_memory(opened)
    with pytest.raises(ValueError, match="read-only"):
        opened[0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        opened.flags.writeable = True
    assert (np.asarray(handle) == array).all()
    again = pickle.loads(pickle.dumps(handle)).open()
    assert not np.shares_memory(again, array)


@pytest.mark.parametrize("array", [np.zeros((0, 3)), np.array(3.0), np.array(["a", "bc"])])
def test_small_arrays_of_any_kind_have_handles_too(array: Any, host: Host) -> None:
    opened = host.put(array).open()
    assert opened.shape == array.shape
    assert (opened == array).all()
    assert not opened.flags.writeable


def test_what_is_put_is_what_the_array_was_then(host: Host) -> None:
    array = host.empty(100_000)
    array[:] = 1
    handle = host.put(array)
    array[:] = 2
    assert (handle.open() == 1).all()


def test_any_process_opens_a_handle_that_it_was_sent(host: Host) -> None:
    data = pickle.dumps(host.put(np.ones(100_000)))
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        assert list(pool.map(handle_holders.total, [data] * 4)) == [(100_000.0, False)] * 4


def test_a_handle_goes_with_its_holder(host: Host) -> None:
    handle = host.put(np.ones(100_000), lease=0)
    other = host.put(np.ones(10), lease=0)
    assert kept(host) == 2
    del handle
    until(lambda: kept(host) == 1, lambda: f"{kept(host)} are kept")
    assert (other.open() == 1).all()
    del other
    gone(host)


def test_an_array_alone_holds_what_its_handle_stands_for(host: Host) -> None:
    handle = host.put(np.ones(100_000), lease=0)
    array = handle.open()[10:]
    copy = Handle.of(list(handle.fields))
    del handle
    gc.collect()
    assert kept(host) == 1
    assert (copy.open() == 1).all()
    del array, copy
    gone(host)


def test_a_holder_that_is_killed_lets_go(server: Server, host: Host, runtime: str) -> None:
    path, mark = f"{runtime}/handle", f"{runtime}/opened"
    handle = host.put(np.arange(100_000.0), lease=0.5)
    Path(path).write_bytes(pickle.dumps(handle))
    with running("open_and_wait", path, mark) as holder:
        until(lambda: os.path.exists(mark), lambda: "it does not open")
        del handle
        until(lambda: references(host) == 1, lambda: f"{references(host)} references")  # the lease is over
        assert kept(host) == 1
        holder.kill()
        gone(host)
    with pytest.raises(Expired):
        pickle.loads(Path(path).read_bytes()).open()


def references(host: Host) -> int:
    """Of holders and leases."""
    told = SESSIONS.current(host.address).control("debug_info")
    return sum(int(line.partition("refcount=")[2]) for line in told.splitlines() if "refcount=" in line)


def test_a_handle_outlives_its_maker_by_its_lease_and_can_be_opened_meanwhile(host: Host, runtime: str) -> None:
    path = f"{runtime}/handle"
    with running("put_and_wait", host.address, path, 30.0) as maker:
        until(lambda: os.path.exists(path), lambda: "it does not put")
        with watching(maker.pid) as ended:
            maker.kill()
            maker.wait()
            assert ended()
    handle = pickle.loads(Path(path).read_bytes())
    assert handle.open().sum() == np.arange(100_000.0).sum()


def test_after_its_lease_a_handle_that_nobody_opened_is_a_typed_error(host: Host) -> None:
    data = pickle.dumps(host.put(np.ones(100_000), lease=0.2))
    gone(host)
    handle = pickle.loads(data)
    with pytest.raises(Expired, match="nobody held it and its lease had passed"):
        handle.open()
    with pytest.raises(Expired):
        pickle.dumps(handle)


def test_pickling_renews_the_lease(host: Host) -> None:
    handle = host.put(np.ones(100_000), lease=5)
    fields = list(handle.fields)
    handle.renew()
    del handle
    assert (Handle.of(fields).open() == 1).all()


def test_an_open_array_survives_its_host_and_a_handle_does_not(server: Server, host: Host) -> None:
    handle, never = host.put(np.ones(100_000)), host.put(np.ones(10))
    array = handle.open()
    server.kill_host()
    assert (array == 1).all()
    assert (handle.open() == 1).all()
    with pytest.raises(Expired):
        never.open()
    assert (host.put(np.ones(5)).open() == 1).all()


def test_a_forked_child_may_go_on_with_what_is_open_and_open_what_is_not(host: Host) -> None:
    opened, closed = host.put(np.ones(100_000), lease=0), host.put(np.full(100_000, 2.0), lease=0)
    array = opened.open()
    child = os.fork()
    if not child:
        right = (array == 1).all() and (opened.open() == 1).all() and (closed.open() == 2).all()
        del array, opened, closed
        os._exit(0 if right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert kept(host) == 2
    assert (closed.open() == 2).all()


def test_a_model_gets_the_array_that_a_handle_stands_for(host: Host) -> None:
    array = np.arange(100_000.0)
    assert (host.model("echo").echo([host.put(array)])[0] == array).all()


def test_a_model_that_is_given_an_expired_handle_never_runs(host: Host) -> None:
    fields = list(host.put(np.ones(10), lease=0).fields)
    gone(host)
    with pytest.raises(Expired):
        host.model("echo").echo(Handle.of(fields))
    assert host.model("echo").echo(1) == 1


def test_tasks_take_and_return_handles(host: Host) -> None:
    array = np.arange(100_000.0)
    with TaskExecutor(1, host=host) as pool:
        future = pool.submit(task_functions.doubled, host.put(array, lease=5))
        assert (future.result(PATIENCE).open() == 2 * array).all()


def test_memory_that_cannot_be_shared_is_copied(server: Server) -> None:
    with connect(server.address, shared_memory=False) as host:
        try:
            opened = host.put(np.arange(1_000_000)).open()
            assert (opened == np.arange(1_000_000)).all()
            assert not opened.flags.writeable
        finally:
            SESSIONS._options.pop(server.address)


@pytest.mark.parametrize("lease", [-1, float("nan"), 1e9])
def test_a_lease_that_cannot_be_is_refused(lease: float, host: Host) -> None:
    with pytest.raises(BadArgument, match="a lease is"):
        host.put(np.ones(3), lease)
    assert kept(host) == 0


def test_only_arrays_can_be_put(host: Host) -> None:
    with pytest.raises(TypeError, match="not a list"):
        host.put([1, 2])  # type: ignore[arg-type]


def test_many_handles_opened_and_dropped_leave_nothing(server: Server, host: Host) -> None:
    array = np.ones(50_000)
    before = len(os.listdir(f"/proc/{server.host_pid}/fd"))
    for _ in range(200):
        handle = host.put(array, lease=0)
        assert handle.open()[-1] == 1
    del handle
    gone(host)
    until(lambda: len(os.listdir(f"/proc/{server.host_pid}/fd")) <= before + 2, lambda: "descriptors are left")


def test_a_holder_that_is_killed_takes_nothing_from_the_others(host: Host, runtime: str) -> None:
    path, marks = f"{runtime}/handle", [f"{runtime}/{n}" for n in range(3)]
    handle = host.put(np.arange(100_000.0), lease=30)
    Path(path).write_bytes(pickle.dumps(handle))
    with running("open_and_wait", path, marks[0]) as one, running("open_and_wait", path, marks[1]) as two:
        until(lambda: all(map(os.path.exists, marks[:2])), lambda: "they do not open")
        os.kill(one.pid, signal.SIGKILL)
        one.wait()
        del handle
        gc.collect()
        assert pickle.loads(Path(path).read_bytes()).open()[-1] == 99_999
        assert two.poll() is None
