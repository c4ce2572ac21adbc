"""Calls of all kinds while models are reloaded, unloaded, moved and killed, in any order: each comes back right.

What is mixed here is tested alone elsewhere; faults are left where two of them meet.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from sharedmodel.client import connect
from sharedmodel.errors import DeadlineExceeded, HostLost

from . import onnx_graphs
from .servers import running_server

PATIENCE: Final = 200.0  # of whoever waits for a call: none takes a second by itself
MODELS: Final = ("fragile", "echo", "net")
PLACES: Final = ("", "lanes = 1", "lanes = 3", "isolate = true", "instances = 2")  # what a model may be given
LONG: Final = "x" * 2_000_000  # no frame is so long, nor need it be valid to be sent


def config(runtime: str, places: dict[str, str]) -> str:
    """The three models, each kept as told."""
    texts = {
        "fragile": f'factory = "zoo:Fragile"\nargs = ["{runtime}/loads"]\nidempotent = ["work", "counts"]\n',
        "echo": 'factory = "zoo:Echo"\nidempotent = ["add", "echo"]\n',
        "net": f'kind = "onnx"\npath = "{runtime}/add.onnx"\nthreads = 1\n',
    }
    return "".join(f"[models.{name}]\n{text}{places.get(name, '')}\n" for name, text in texts.items())


class Anything(RuleBasedStateMachine):
    """A real server, eight threads that call it, and somebody who changes it meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self._stack = ExitStack()
        self._steps: list[str] = []
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise

    def _start(self) -> None:
        stack = self._stack
        self.runtime = tempfile.mkdtemp(prefix="sm-", dir="/tmp")
        stack.callback(shutil.rmtree, self.runtime)
        Path(self.runtime, "add.onnx").write_bytes(onnx_graphs.add())
        self.places: dict[str, str] = {}
        self.server = stack.enter_context(running_server(config(self.runtime, {}), self.runtime))
        self.host = stack.enter_context(connect(self.server.address))
        self.models = {name: self.host.model(name) for name in MODELS}
        self.pool = stack.enter_context(ThreadPoolExecutor(8))
        self.begun: list[tuple[str, Future[Any]]] = []

    def _begin(self, what: str, task: Callable[[], None]) -> None:
        self._steps.append(what)
        self.begun.append((what, self.pool.submit(task)))

    # -- calls -----------------------------------------------------------------------------------------

    @rule(number=st.integers(0, 99), times=st.integers(1, 40), timeout=st.sampled_from([None, None, 0.001, 0.02]))
    def small_calls(self, number: int, times: int, timeout: float | None) -> None:
        self._begin("small calls", partial(self._small_calls, number, times, timeout))

    def _small_calls(self, number: int, times: int, timeout: float | None) -> None:
        late = None if timeout is None else DeadlineExceeded
        for name, method in (("fragile", "work"), ("echo", "add")):
            call = getattr(self.models[name].with_timeout(timeout or PATIENCE), method)
            for _ in range(times):
                try:
                    assert call(number) == number
                except DeadlineExceeded:
                    assert late, f"{name} was not there for {PATIENCE:g} s"

    @rule(rows=st.integers(1, 5), times=st.integers(1, 40))
    def calls_that_run_together(self, rows: int, times: int) -> None:
        self._begin("batched calls", partial(self._batched_calls, rows, times))

    def _batched_calls(self, rows: int, times: int) -> None:
        net = self.models["net"].with_timeout(PATIENCE)
        for number in range(times):
            x = np.full(rows, number, "f4")
            (z,) = net.run(None, {"x": x, "y": np.ones(rows, "f4")})
            assert np.array_equal(z, x + 1)

    @rule(timeout=st.sampled_from([None, 0.005]))
    def a_long_call(self, timeout: float | None) -> None:
        self._begin("a long call", partial(self._long_call, timeout))

    def _long_call(self, timeout: float | None) -> None:
        try:
            assert self.models["echo"].with_timeout(timeout or PATIENCE).echo(LONG) == LONG
        except DeadlineExceeded:
            assert timeout

    @rule(count=st.integers(0, 200), read=st.integers(0, 200))
    def a_stream(self, count: int, read: int) -> None:
        self._begin("a stream", partial(self._stream, count, read))

    def _stream(self, count: int, read: int) -> None:
        found: list[int] = []
        try:
            found.extend(islice(self.models["fragile"].with_timeout(PATIENCE).counts(count), read))
        except HostLost:
            assert found  # one of which nothing was taken begins again
        else:
            assert len(found) == min(count, read)
        assert found == list(range(len(found)))

    # -- changes ---------------------------------------------------------------------------------------

    @rule(name=st.sampled_from(MODELS))
    def reload(self, name: str) -> None:
        self._begin(f"reload {name}", partial(self._manage, "reload", name))

    @rule(name=st.sampled_from(MODELS))
    def unload(self, name: str) -> None:
        self._begin(f"unload {name}", partial(self._manage, "unload", name))

    def _manage(self, what: str, name: str) -> None:
        try:
            getattr(self.host, what)(name)
        except HostLost:
            pass  # it may be done: whoever asked is told that nobody knows

    @rule(name=st.sampled_from(MODELS), place=st.sampled_from(PLACES))
    def move(self, name: str, place: str) -> None:
        self._steps.append(f"{name}: {place}")
        self.places[name] = place
        self.server.rewrite(config(self.runtime, self.places))

    @rule(which=st.integers(0, 5))
    def kill_a_host(self, which: int) -> None:
        pids = [host["pid"] for host in self.server.status()["hosts"] if host["pid"] is not None]
        if pids:
            self._steps.append("kill")
            with suppress(ProcessLookupError):  # killed a step ago, and not yet known to be dead
                os.kill(pids[which % len(pids)], signal.SIGKILL)

    @rule()
    def all_come_back(self) -> None:
        begun, self.begun = self.begun, []
        for what, future in begun:
            try:
                future.result(2 * PATIENCE)
            except BaseException as exc:
                log = self.server.log[-6000:]
                pytest.fail(f"{what}: {type(exc).__name__}: {exc}\nafter {', '.join(self._steps)}\n{log}")

    def teardown(self) -> None:
        with self._stack:
            self.all_come_back()
            for name in MODELS:
                self.host.load(name)


class TestEverythingAtOnce(Anything.TestCase):  # type: ignore[name-defined,misc]
    settings = settings(
        max_examples=4, stateful_step_count=30, deadline=None, database=None, phases=[Phase.generate]
    )  # nothing to be shrunk: another run takes other turns
