"""The client against a real server: models by name, files read here, deaths survived, pickles by reference."""

from __future__ import annotations

import asyncio
import os
import pickle
import shutil
import signal
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sharedmodel.client import AsyncHost, Host, Model, aconnect, connect
from sharedmodel.errors import BadArgument, DeadlineExceeded, HostUnavailable
from tests import onnx_graphs
from tests.servers import running_server, watching

CONFIG = """
[models.add]
kind = "onnx"
path = "add.onnx"

[models.mine]
factory = "client_models:Mine"
idempotent = ["pid", "slow"]
"""


@pytest.fixture
def configured(runtime: str) -> str:
    Path(runtime, "add.onnx").write_bytes(onnx_graphs.add())
    shutil.copy(Path(__file__).with_name("client_models.py"), runtime)
    return runtime


@pytest.fixture
def host(configured: str) -> Any:
    with running_server(CONFIG, configured), connect(start=False) as host:
        yield host


def test_a_model_is_called_by_its_name_as_onnxruntime_would_be(host: Host) -> None:
    x = host.empty((3, 1000), "f4")
    x[...] = 2
    (total,) = host.model("add").run(None, {"x": x.ravel(), "y": np.ones(3000, "f4")})
    assert total.dtype == np.float32
    assert (total == 3).all()


def test_an_unknown_model_is_an_error_that_names_those_that_are_there(host: Host) -> None:
    with pytest.raises(Exception, match="add"):
        host.model("ad")


def test_an_unknown_method_is_an_attribute_error_that_names_those_that_are_there(host: Host) -> None:
    with pytest.raises(AttributeError, match="run"):
        host.model("add").predict(1)


def test_a_model_pickles_by_reference_and_works_in_spawned_workers(host: Host) -> None:
    model = host.model("mine")
    assert len(pickle.dumps(model)) < 2000
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        assert {task.result() for task in [pool.submit(_pid_of, model) for _ in range(4)]} == {model.pid()}


def _pid_of(model: Model) -> int:
    return int(model.pid())


def test_an_idempotent_call_survives_the_death_of_its_host_and_others_say_so(host: Host) -> None:
    model = host.model("mine")
    before = model.pid()
    os.kill(before, signal.SIGKILL)
    assert model.pid() != before
    # Not declared idempotent, but the host was dead before the call left: it can't have run.
    victim = model.pid()
    with watching(victim) as gone:
        os.kill(victim, signal.SIGKILL)
        assert gone()
    assert model.count() == 1


def test_a_deadline_ends_a_slow_call_and_the_session_goes_on(host: Host) -> None:
    model = host.model("mine")
    with pytest.raises(DeadlineExceeded):
        model.with_timeout(0.05).slow(2)
    assert model.pid()


def test_files_are_read_by_the_caller_with_the_errors_that_opening_them_gives(host: Host) -> None:
    info = {**host.model("mine")._info, "files": {"size": [0, "data"]}}
    model = Model(host.address, "mine", info)
    assert model.size(__file__) == os.path.getsize(__file__)
    assert model.size(data=Path(__file__)) == os.path.getsize(__file__)
    with pytest.raises(FileNotFoundError):
        model.size("no such file")
    with pytest.raises(BadArgument, match="folder"):
        model.size("/tmp")


def test_an_event_loop_calls_models_concurrently(host: Host) -> None:
    async def main() -> None:
        async with await aconnect(start=False) as other:
            model = await other.model("add")
            feeds = [{"x": np.full(n, n, "f4"), "y": np.ones(n, "f4")} for n in (1, 10, 100_000, 1_000_000)]
            results = await asyncio.gather(*(model.run(None, feed) for feed in feeds))
            assert [float(total[0]) for (total,) in results] == [2, 11, 100_001, 1_000_001]

    asyncio.run(main())


def test_an_event_loop_survives_the_death_of_the_host(host: Host) -> None:
    async def main() -> None:
        async with await aconnect(start=False) as other:
            model = await other.model("mine")
            before = await model.pid()
            os.kill(before, signal.SIGKILL)
            assert await model.pid() != before

    asyncio.run(main())


def test_without_a_host_and_without_leave_to_start_one_the_error_says_what_to_type(runtime: str) -> None:
    with pytest.raises(HostUnavailable, match="sharedmodel serve"):
        connect(start=False)


def test_the_environment_can_forbid_an_embedded_host(runtime: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHAREDMODEL_EMBEDDED", "0")
    with pytest.raises(HostUnavailable, match="sharedmodel serve"):
        connect()


def test_arrays_cross_without_shared_memory_too(configured: str) -> None:
    with running_server(CONFIG, configured), connect(start=False, shared_memory=False) as host:
        n = 2_000_000
        (total,) = host.model("add").run(None, {"x": np.arange(n, dtype="f4"), "y": np.ones(n, "f4")})
        assert (total == np.arange(n, dtype="f4") + 1).all()


def test_the_asynchronous_names_are_there_without_importing_asyncio_first() -> None:
    assert AsyncHost.__name__ == "AsyncHost"
