"""Who may open a listening socket, from its first moment on, and what listening does to the rest of the process."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sharedmodel import link


@contextmanager
def umask(value: int) -> Iterator[None]:
    before = os.umask(value)
    try:
        yield
    finally:
        assert os.umask(before) == value, "it was changed meanwhile"


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("value", [0o000, 0o022, 0o077, 0o777])
def test_a_socket_is_its_users_alone_whatever_the_umask(tmp_path: Path, value: int) -> None:
    with umask(value), link.listen(str(tmp_path / "s")):
        pass
    assert mode(tmp_path / "s") == 0o600


def test_a_socket_has_no_moment_with_wider_permissions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[int] = []

    class Socket(socket.socket):
        def bind(self, address: Any) -> None:
            super().bind(address)
            found.append(mode(Path(address)))

    monkeypatch.setattr(link.socket, "socket", Socket)
    with umask(0), link.listen(str(tmp_path / "s")):
        pass
    assert found == [0o600]


def test_a_group_may_open_it_where_one_is_given(tmp_path: Path) -> None:
    with umask(0o077), link.listen(str(tmp_path / "s"), group=os.getegid()):
        pass
    assert mode(tmp_path / "s") == 0o660


def test_files_that_other_threads_make_meanwhile_have_the_permissions_that_they_ask_for(tmp_path: Path) -> None:
    """As do those made ever after: two threads that set a umask and restore it may leave the wrong one."""
    over = threading.Event()
    failed: list[BaseException] = []

    def listen(name: str) -> None:
        try:
            for number in range(200):
                link.listen(str(tmp_path / f"{name}{number}")).close()
        except BaseException as exc:
            failed.append(exc)

    def make() -> None:
        number = 0
        while not over.is_set():
            path = tmp_path / f"file{(number := number + 1)}"
            path.touch(0o666)
            if mode(path) != 0o644:
                failed.append(AssertionError(f"{mode(path):o}"))
                return

    with umask(0o022):
        listeners = [threading.Thread(target=listen, args=(name,)) for name in "abc"]
        maker = threading.Thread(target=make)
        for thread in (maker, *listeners):
            thread.start()
        for thread in listeners:
            thread.join()
        over.set()
        maker.join()
    assert not failed
