"""A server whose models' calls wait, run together, take turns and are refused, as its configuration says."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sharedmodel.client import connect
from sharedmodel.client.host import Host
from sharedmodel.errors import BadArgument, DeadlineExceeded, Overloaded

from .onnx_graphs import mlp
from .servers import PATIENCE, release, running_server, until

GATE = """
[models.gate]
factory = "zoo:Turnstile"
lanes = 1
queue = 2
priorities = true
"""
TOGETHER = """
[models.net]
kind = "onnx"
path = "net.onnx"
max_batch = 4
max_wait = 30.0
"""


def calls(host: Host, model: str) -> dict[str, Any]:
    found: dict[str, Any] = host.models()[model]["calls"]
    return found


@contextmanager
def held(directory: str) -> Iterator[tuple[Host, ThreadPoolExecutor, Future[Any], str]]:
    """A model with one lane, and a call that holds it."""
    pipe = os.path.join(directory, "pipe")
    os.mkfifo(pipe)
    with running_server(GATE, directory) as server, connect(server.address) as host, ThreadPoolExecutor(8) as pool:
        holding = pool.submit(host.model("gate").hold, pipe)
        until(lambda: calls(host, "gate")["running"] == 1, lambda: str(calls(host, "gate")))
        try:
            yield host, pool, holding, pipe
        finally:
            release(pipe, holding)


def waiting(host: Host, count: int) -> None:
    until(lambda: calls(host, "gate")["waiting"] == count, lambda: str(calls(host, "gate")))


def test_rows_of_several_callers_run_as_one_and_each_gets_its_own(runtime: str) -> None:
    Path(runtime, "net.onnx").write_bytes(mlp(width=32, layers=2))
    rows = np.random.default_rng(0).standard_normal((4, 1, 64), dtype=np.float32)
    with running_server(TOGETHER, runtime) as server, connect(server.address) as host, ThreadPoolExecutor(4) as pool:
        net = host.model("net")
        at_once = list(pool.map(lambda x: net.run(None, {"x": x})[0], rows))  # none ran before the fourth was there
        assert calls(host, "net")["batches"] == {"4": 1}
        alone = net.run(None, {"x": np.concatenate(rows)})[0]  # as many rows as may run: it waits for nobody
    np.testing.assert_allclose(np.concatenate(at_once), alone, rtol=1e-5, atol=1e-6)


def test_a_call_that_waits_for_others_is_answered_at_once_when_its_server_ends(runtime: str) -> None:
    Path(runtime, "net.onnx").write_bytes(mlp(width=32, layers=2))
    with running_server(TOGETHER, runtime) as server, connect(server.address) as host, ThreadPoolExecutor(1) as pool:
        call = pool.submit(host.model("net").run, None, {"x": np.ones((1, 64), "f4")})
        until(lambda: calls(host, "net")["waiting"] == 1, lambda: str(calls(host, "net")))
        start = time.monotonic()
        server.process.terminate()
        assert call.result(PATIENCE)[0].shape == (1, 64) and server.ends() == 0
        assert time.monotonic() - start < 8.0  # its grace is 10 s, what it waits for 30


def test_a_call_too_many_is_refused_and_told_when_to_come_again(runtime: str) -> None:
    with held(runtime) as (host, pool, holding, pipe):
        queued = [pool.submit(host.model("gate").number) for _ in range(2)]
        waiting(host, 2)
        with pytest.raises(Overloaded, match="calls of model 'gate' wait, as many as may") as raised:
            host.model("gate").number()
        assert raised.value.retry_after > 0
        assert calls(host, "gate")["refused"] == 1
        release(pipe, holding)
        assert {future.result() for future in queued} == {1, 2}


def test_a_higher_priority_goes_first(runtime: str) -> None:
    with held(runtime) as (host, pool, holding, pipe):
        last = pool.submit(host.model("gate").with_priority(-1).number)
        waiting(host, 1)
        first = pool.submit(host.model("gate").with_priority(1).number)
        waiting(host, 2)
        release(pipe, holding)
        assert (first.result(), last.result()) == (1, 2)


def test_a_priority_is_a_small_whole_number(runtime: str) -> None:
    with running_server(GATE, runtime) as server, connect(server.address) as host:
        for wrong in (3, -3, 1.0, True, "high"):
            with pytest.raises(BadArgument, match="a priority is a whole number from -2 to 2"):
                host.model("gate").with_priority(wrong)  # type: ignore[arg-type]
        assert host.model("gate").with_priority(2).number() == 1


def test_a_call_whose_deadline_passes_while_it_waits_never_runs(runtime: str) -> None:
    with held(runtime) as (host, _, holding, pipe):
        with pytest.raises(DeadlineExceeded):
            host.model("gate").with_timeout(0.2).number()
        release(pipe, holding)
        assert host.model("gate").number() == 1
