"""Who may enter: the same user, members of a group where one is named, and nobody else."""

from __future__ import annotations

import grp
import multiprocessing as mp
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sharedmodel.errors import NotPermitted
from sharedmodel.session import Session
from tests.servers import Server, running_server

STRANGER = 65534
GROUP = next(group.gr_gid for group in grp.getgrall() if group.gr_gid not in (0, STRANGER))

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")

CONFIG = """
[models.echo]
factory = "zoo:Echo"
"""


def _as_stranger(task: Callable[[str], Any], address: str, groups: list[int]) -> Any:
    """Run a task in a forked process of another user; its result, or the exception it raised."""
    ours, theirs = mp.Pipe()

    def run() -> None:
        os.setgroups(groups)
        os.setgid(STRANGER)
        os.setuid(STRANGER)
        try:
            theirs.send(task(address))
        except Exception as exc:
            theirs.send(exc)

    process = mp.get_context("fork").Process(target=run)
    process.start()
    result = ours.recv()
    process.join()
    for end in (ours, theirs, process):
        end.close()
    return result


def _echo(address: str) -> tuple[int, float]:
    session = Session(address)
    array = np.full(1_000_000, 2.0)
    result = session.call("echo", "echo", (array,), {})
    inside = session.empty((1000, 1000))
    assert inside is not None
    inside[...] = 3
    again = session.call("echo", "echo", (inside,), {})
    kinds = {segment.kind for segment in session.channel.replies.segments.values()}
    assert kinds == {"memfd"}, "another user's memory is sealed"
    return len(result), float(again.sum())


def _end(address: str) -> None:
    Session(address).control("shutdown")


def _grouped(server: Server) -> str:
    assert oct(os.stat(server.place.directory).st_mode & 0o7777) == "0o710"
    assert oct(os.stat(server.address).st_mode & 0o777) == "0o660"
    return server.address


def test_the_socket_is_closed_to_other_users(runtime: str) -> None:
    with running_server(CONFIG, runtime) as server:
        assert oct(os.stat(server.address).st_mode & 0o777) == "0o600"
        os.chmod(runtime, 0o711)
        assert isinstance(_as_stranger(_echo, server.address, []), NotPermitted)
        os.chmod(server.address, 0o666)  # even where the file lets them in, the host does not
        refused = _as_stranger(_echo, server.address, [])
        assert isinstance(refused, NotPermitted)
        assert str(STRANGER) in str(refused)
        assert f"uid {STRANGER} may not enter" in server.log


def test_a_member_of_the_group_is_let_in_with_memory_that_can_not_shrink(runtime: str) -> None:
    with running_server(CONFIG + f"\n[server]\ngroup = {GROUP}\n", runtime) as server:
        assert _as_stranger(_echo, _grouped(server), [GROUP]) == (1_000_000, 3_000_000.0)


def test_another_user_is_not_let_in_without_the_group(runtime: str) -> None:
    with running_server(CONFIG + f"\n[server]\ngroup = {GROUP}\n", runtime) as server:
        assert isinstance(_as_stranger(_echo, _grouped(server), []), NotPermitted)


def test_a_guest_may_call_but_not_end_the_host(runtime: str) -> None:
    with running_server(CONFIG + f"\n[server]\ngroup = {GROUP}\n", runtime) as server:
        assert isinstance(_as_stranger(_end, _grouped(server), [GROUP]), NotPermitted)
        assert Path(f"/proc/{server.host_pid}").exists()
