"""The task executor as one of the standard library's, and what it has beyond that."""

from __future__ import annotations

import asyncio
import gc
import os
import weakref
from collections.abc import Iterator
from concurrent.futures import Executor, Future, as_completed, wait
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sharedmodel.client import TaskExecutor, connect
from sharedmodel.errors import BadArgument, CannotCross, Overloaded

from . import task_functions as do
from .servers import ECHO, running_server

PATIENCE = 200.0


@pytest.fixture
def pool(runtime: str) -> Iterator[TaskExecutor]:
    with TaskExecutor(2) as pool:
        yield pool


def local_function() -> Any:
    def inner() -> None: ...

    return inner


def test_it_is_an_executor_whose_submit_map_and_as_completed_are_the_standards(pool: TaskExecutor) -> None:
    assert isinstance(pool, Executor)
    assert pool.submit(do.add, 1, b=2).result(PATIENCE) == 3
    assert list(pool.map(do.add, range(5), range(5), timeout=PATIENCE)) == [0, 2, 4, 6, 8]
    futures = [pool.submit(pow, 2, n) for n in range(6)]
    assert sorted(future.result() for future in as_completed(futures, PATIENCE)) == [1, 2, 4, 8, 16, 32]
    assert not wait(futures, PATIENCE).not_done


def test_tasks_run_in_as_many_processes_as_there_may_be_and_never_in_ours(pool: TaskExecutor) -> None:
    pids = set(pool.map(_pid_of, range(20)))
    assert 1 <= len(pids) <= 2
    assert os.getpid() not in pids


def _pid_of(_: int) -> int:
    return os.getpid()


def test_an_event_loop_awaits_tasks_and_ends_the_work_of_those_it_cancels(pool: TaskExecutor, runtime: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(pool, partial(do.add, 1, b=5)) == 6
        assert await asyncio.wrap_future(pool.submit(do.add, 1)) == 2
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.wrap_future(pool.submit(do.wait_until_cancelled, f"{runtime}/w")), 2)
        assert sorted(await asyncio.gather(*(loop.run_in_executor(pool, do.add, n) for n in range(4)))) == [1, 2, 3, 4]

    asyncio.run(main())


def test_large_arrays_go_through_shared_memory_both_ways(pool: TaskExecutor) -> None:
    array = np.arange(1 << 20, dtype="f4").reshape(1024, 1024)
    assert pool.submit(do.lies_in_shared_memory, array).result(PATIENCE)
    assert not pool.submit(do.writable, array).result(PATIENCE)
    result = pool.submit(do.echo, {"array": [array, array.T], "n": (1, 2.5, None, b"x")}).result(PATIENCE)
    assert do.lies_in_shared_memory(result["array"][0])
    assert (result["array"][1] == array.T).all()
    assert result["n"] == (1, 2.5, None, b"x")
    result["array"][0][0] = 7  # a result is the caller's own


def test_a_result_outlives_its_executor(runtime: str) -> None:
    with TaskExecutor(1) as pool:
        result = pool.submit(do.add, np.ones(1 << 20, "f4")).result(PATIENCE)
    assert (result == 2).all()


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda: 1, "<lambda>"),
        (local_function(), "local_function.<locals>.inner"),
        (partial(lambda: 1), "<lambda>"),
        (Future().done, "Future.done"),
        (3, "3 is not a function"),
    ],
)
def test_a_function_without_a_name_of_its_own_is_a_type_error_that_names_it(
    function: Any, why: str, pool: TaskExecutor
) -> None:
    with pytest.raises(TypeError, match=why):
        pool.submit(function)
    with pytest.raises(TypeError, match=why):
        pool.register("it", function)


def test_what_a_task_raises_is_raised_here_with_the_workers_traceback(pool: TaskExecutor) -> None:
    with pytest.raises(do.Odd, match="so it is") as caught:
        pool.submit(do.fail, "so it is").result(PATIENCE)
    assert "task_functions.py" in str(caught.value.__cause__)
    assert isinstance(pool.submit(do.add, "a").exception(PATIENCE), TypeError)


@pytest.mark.parametrize(("function", "why"), [(do.opaque, "object does not cross"), (do.items, "generator")])
def test_a_result_that_cannot_cross_is_a_type_error_that_says_so(function: Any, why: str, pool: TaskExecutor) -> None:
    with pytest.raises(CannotCross, match=why):
        pool.submit(function).result(PATIENCE)


def test_an_argument_that_cannot_cross_is_a_type_error_that_names_it(pool: TaskExecutor) -> None:
    with pytest.raises(CannotCross, match="argument 'b'"):
        pool.submit(do.add, 1, b=[object()]).result(PATIENCE)
    assert pool.submit(do.add, 1).result(PATIENCE) == 2


def test_registered_tasks_are_found_by_their_ids_and_tell_their_callbacks(runtime: str) -> None:
    ended: list[tuple[Any, Any]] = []
    with TaskExecutor(2, keep=3) as pool:
        pool.register("add", do.add, callback=lambda task_id, future: ended.append((task_id, future.result())))
        futures = [pool.submit_task(f"page {n}", "add", a=n, b=n) for n in range(6)]
        assert {future.task_id for future in futures} == {f"page {n}" for n in range(6)}
        assert [future.result(PATIENCE) for future in futures] == [0, 2, 4, 6, 8, 10]
    assert sorted(ended) == [(f"page {n}", 2 * n) for n in range(6)]
    assert len(pool.tasks) == 3
    assert all(pool.result(task_id) == future.result() for task_id, future in pool.tasks.items())
    with pytest.raises(KeyError):
        pool.result("page 99")


def test_a_task_id_that_is_on_its_way_and_an_unknown_type_are_refused(pool: TaskExecutor, runtime: str) -> None:
    pipe = f"{runtime}/pipe"
    os.mkfifo(pipe)
    pool.register("wait", do.wait_for)
    first = pool.submit_task(1, "wait", path=pipe)
    with pytest.raises(BadArgument, match="1 is on its way"):
        pool.submit_task(1, "wait", path=pipe)
    with pytest.raises(BadArgument, match="registered are: wait"):
        pool.submit_task(2, "wiat", path=pipe)
    with pytest.raises(BadArgument, match="registered already"):
        pool.register("wait", do.wait_for)
    Path(pipe).write_bytes(b"")
    assert first.result(PATIENCE) != os.getpid()


def test_a_type_with_processes_of_its_own_does_not_wait_for_the_others(runtime: str) -> None:
    pipe = f"{runtime}/pipe"
    os.mkfifo(pipe)
    with TaskExecutor(1) as pool:
        pool.register("apart", do.pid, processes=1)
        busy = pool.submit(do.wait_for, pipe)
        apart = {pool.submit_task(n, "apart").result(PATIENCE) for n in range(3)}
        Path(pipe).write_bytes(b"")
        assert len(apart) == 1
        assert busy.result(PATIENCE) not in apart


def test_workers_get_the_models_they_need_as_light_objects(runtime: str) -> None:
    with running_server(ECHO, runtime) as server, connect(start=False) as host, TaskExecutor(1, host=host) as pool:
        pool.register("with_model", do.with_model, models=["echo"])
        pool.register("renamed", do.call_model, models={"model": "echo"})
        array = np.arange(100_000.0)
        value, model_pid, task_pid = pool.submit_task(1, "with_model", value=array).result(PATIENCE)
        assert (value == array).all()
        assert model_pid == server.host_pid != task_pid
        assert pool.submit_task(2, "renamed", value="x").result(PATIENCE) == "x"
        # Also as an argument, and as a result.
        assert pool.submit(do.call_model, host.model("echo"), 5).result(PATIENCE) == 5
        assert pool.submit(do.echo, host.model("echo")).result(PATIENCE).pid() == model_pid
        heavy = pool.submit(do.modules, "torch", "onnxruntime", "concurrent.futures.process", "asyncio", "cnocr")
        assert heavy.result(PATIENCE) == []


def test_more_tasks_than_may_be_in_flight_wait_or_are_refused(runtime: str) -> None:
    pipe = f"{runtime}/pipe"
    os.mkfifo(pipe)
    with TaskExecutor(1, max_in_flight=2, when_full="refuse") as pool:
        held = [pool.submit(do.wait_for, pipe), pool.submit(do.pid)]
        with pytest.raises(Overloaded, match="2 tasks are in flight"):
            pool.submit(do.pid)
        Path(pipe).write_bytes(b"")
        assert len({future.result(PATIENCE) for future in held}) == 1
        assert pool.submit(do.pid).result(PATIENCE)
    with TaskExecutor(2, max_in_flight=2) as pool:
        assert list(pool.map(do.add, range(50))) == list(range(1, 51))


def test_after_its_shutdown_nothing_is_taken_in_and_what_was_is_done(runtime: str) -> None:
    pool = TaskExecutor(1)
    futures = [pool.submit(do.add, n) for n in range(5)]
    pool.shutdown(wait=False)
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(do.pid)
    assert [future.result(PATIENCE) for future in futures] == [1, 2, 3, 4, 5]
    pool.shutdown()
    pool.shutdown()


def test_an_executor_that_nobody_holds_does_what_it_was_given_and_goes(runtime: str) -> None:
    pool = TaskExecutor(1, timeout=PATIENCE)
    future = pool.submit(do.pid)
    gone = weakref.ref(pool)
    del pool
    gc.collect()
    assert gone() is None
    assert future.result(PATIENCE)


def test_an_ended_task_keeps_neither_its_arguments_nor_its_result_alive(pool: TaskExecutor) -> None:
    gc.disable()
    argument = np.ones(1 << 20, "u1")
    future = pool.submit(do.echo, argument)
    result = weakref.ref(future.result(PATIENCE))
    given = weakref.ref(argument)
    del argument, future
    assert pool.submit(do.pid).result(PATIENCE)
    try:
        assert given() is None
        assert result() is None
    finally:
        gc.enable()


def test_a_forked_child_is_told_to_make_its_own(pool: TaskExecutor) -> None:
    assert pool.submit(do.pid).result(PATIENCE)
    child = os.fork()
    if not child:
        try:
            pool.submit(do.pid)
        except RuntimeError as exc:
            pool.shutdown()
            os._exit(5 if "after the fork" in str(exc) else 6)
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
    assert pool.submit(do.pid).result(PATIENCE)


@pytest.mark.parametrize("option", ["max_workers", "max_in_flight", "max_tasks_per_child", "memory_limit"])
def test_options_below_one_are_refused(option: str, runtime: str) -> None:
    with pytest.raises(ValueError, match=f"{option} must be at least 1"):
        TaskExecutor(**{option: 0})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'wait' or 'refuse'"):
        TaskExecutor(when_full="drop")  # type: ignore[arg-type]
