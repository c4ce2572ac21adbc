"""A library and its stand-in, called alike: what comes of it must be the same."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from .servers import Server, started


@contextmanager
def embedded_host() -> Iterator[Server]:
    """An embedded host for a whole module of tests, in a place of its own."""
    path = tempfile.mkdtemp(prefix="sm-", dir="/tmp")
    try:
        with started(path, "serve", "--embedded", "--idle-exit", "600") as server:
            server.until("ready")  # its host is a process by now: none that a test could be taken to have left
            yield server
            server.process.terminate()
            assert server.ends() == 0, server.log
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def found_host() -> Iterator[Server]:
    """The same, and stand-ins of this process find it."""
    with embedded_host() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHAREDMODEL_ADDRESS", server.address)
        yield server


def outcome(call: Callable[[], Any]) -> Any:
    """What a call gives; or the name of the class and the message of what it raises, without addresses."""
    try:
        return call()
    except Exception as exc:
        # pybind's own errors print the objects that they were given.
        text = re.sub(r"0x[0-9a-f]+", "0x", str(exc).split("Invoked with")[0])
        return type(exc).__name__, text


class Pair:
    """An object of a library and its stand-in. ``same``: what raises where results differ."""

    ours: Any
    theirs: Any
    same: Callable[[Any, Any], None]

    def outcomes(self, call: Callable[[Any], Any]) -> tuple[Any, Any]:
        """What comes of a call of each."""
        return outcome(lambda: call(self.ours)), outcome(lambda: call(self.theirs))

    def alike(self, call: Callable[[Any], Any]) -> None:
        """The same values, or the same mistake."""
        self.same(*self.outcomes(call))


def alike(ours: Any, theirs: Any) -> None:
    """Equal in values to the last bit, in types, dtypes and shapes."""
    assert type(ours) is type(theirs), (ours, theirs)
    if isinstance(theirs, np.ndarray):
        assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
        assert ours.tolist() == theirs.tolist() if theirs.dtype.hasobject else ours.tobytes() == theirs.tobytes()
    elif isinstance(theirs, list | tuple):
        assert len(ours) == len(theirs), (ours, theirs)
        for one, other in zip(ours, theirs, strict=True):
            alike(one, other)
    elif isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key in theirs:
            alike(ours[key], theirs[key])
    else:
        assert ours == theirs
