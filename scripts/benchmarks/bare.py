"""What the machine itself charges: another process reached by a socket and a mapping, with no service between."""

from __future__ import annotations

import mmap
import multiprocessing as mp
import os
import select
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

_FORK = mp.get_context("fork")


@contextmanager
def session(model: Callable[[], Any], x: Any) -> Iterator[Callable[[], None]]:
    """A model in another process: a call copies ``x`` into shared memory, and one byte goes there and back."""
    ours, theirs = socket.socketpair()
    memory = mmap.mmap(-1, x.nbytes)
    process = _FORK.Process(target=_serve, args=(model, theirs, memory, x.shape, x.dtype), daemon=True)
    process.start()
    theirs.close()
    ours.recv(1)
    place = np.ndarray(x.shape, x.dtype, memory)

    def call() -> None:
        place[...] = x
        ours.send(b"x")
        ours.recv(1)

    yield call
    process.kill()
    process.join()


def _serve(model: Callable[[], Any], sock: socket.socket, memory: mmap.mmap, shape: Any, dtype: Any) -> None:
    loaded = model()
    x = np.ndarray(shape, dtype, memory)
    sock.send(b"r")
    while True:
        sock.recv(1)
        loaded.run(None, {"x": x})
        sock.send(b"d")


@contextmanager
def echo() -> Iterator[str]:
    """The address of a server that sends back what it gets."""
    with tempfile.TemporaryDirectory(prefix="sm-") as folder, socket.socket(socket.AF_UNIX) as listener:
        path = os.path.join(folder, "echo")
        listener.bind(path)
        listener.listen(64)
        process = _FORK.Process(target=_echo, args=(listener,), daemon=True)
        process.start()
        yield path
        process.kill()
        process.join()


def _echo(listener: socket.socket) -> None:
    poll, open_ = select.epoll(), {}
    poll.register(listener, select.EPOLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd == listener.fileno():
                sock, _ = listener.accept()
                open_[sock.fileno()] = sock
                poll.register(sock, select.EPOLLIN)
            elif data := open_[fd].recv(65536):
                open_[fd].send(data)
            else:
                poll.unregister(fd)
                open_.pop(fd).close()
