"""`TaskExecutor`: an executor whose workers may die, hang or be cancelled, and whose arrays are not pickled."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from typing import Any, Literal

from sharedmodel import deadlines
from sharedmodel.errors import BadArgument

from ..host import Host, connect
from ..model import Model
from .attendant import Manner
from .gate import Gate
from .pool import SHARED, Pool, checked
from .reference import Work, work
from .store import Store
from .task import Task, TaskFuture, Terms

Callback = Callable[[Any, "Future[Any]"], Any]


@dataclass(frozen=True)
class TaskType:
    """What was registered under a name."""

    work: Work
    models: dict[str, Model]
    group: str
    terms: Terms
    callback: Callback | None


class TaskExecutor(Executor):
    """Runs functions in worker processes: fits wherever a `concurrent.futures.Executor` is expected.

    ``max_workers``: processes for tasks without some of their own, as a rule one for each core we may use.
    ``host``: whose models tasks get; without it, what `connect` finds. ``max_in_flight``: tasks that may be on
    their way, from submission to their end; ``when_full`` says whether a further one waits or is refused with
    Overloaded. None waits that is submitted on the executor's own threads, where callbacks run: these may exceed
    ``max_in_flight``. ``retries``: how often a task runs again whose worker ended under it or hung. In seconds:
    ``timeout`` from submission to result (DeadlineExceeded), ``max_run`` of one run (then it hangs: Stuck), and
    ``grace`` between telling a task to stop and killing its worker. ``memory_limit``: bytes that the tasks of one
    worker may allocate (then MemoryError). ``keep``: how many ended tasks are remembered by their id.

    Workers are spawned, so a program's start belongs under ``if __name__ == "__main__":``. Functions travel by
    name, arguments and results through shared memory: arrays, containers of them, models, proxies. Arrays that
    come as arguments are read-only. Tasks run on a thread of their worker, one at a time.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        host: Host | str | None = None,
        max_in_flight: int | None = None,
        when_full: Literal["wait", "refuse"] = "wait",
        retries: int = 1,
        timeout: float | None = None,
        max_run: float | None = None,
        max_tasks_per_child: int | None = None,
        memory_limit: int | None = None,
        grace: float = 1.0,
        keep: int = 1000,
    ) -> None:
        if when_full not in ("wait", "refuse"):
            raise ValueError(f"when_full is 'wait' or 'refuse', not {when_full!r}")
        size = checked("max_workers", max_workers) or len(os.sched_getaffinity(0))
        manner = Manner(
            checked("max_tasks_per_child", max_tasks_per_child), checked("memory_limit", memory_limit), grace
        )
        gate = Gate(checked("max_in_flight", max_in_flight), waits=when_full == "wait")
        self._host = Host(host) if isinstance(host, str) else host
        self._terms = Terms(checked("retries", retries, 0), timeout, max_run)
        self._types: dict[str, TaskType] = {}
        self.tasks = Store(checked("keep", keep, 0))
        self._pool = Pool(size, manner, gate)
        weakref.finalize(self, self._pool.let_go).atexit = False

    # -- task types --------------------------------------------------------------------------------------

    def register(
        self,
        name: str,
        function: Callable[..., Any],
        *,
        models: Sequence[str] | Mapping[str, str] = (),
        processes: int | None = None,
        retries: int | None = None,
        timeout: float | None = None,
        max_run: float | None = None,
        callback: Callback | None = None,
    ) -> None:
        """Make a function a type of task.

        It gets each of ``models`` as a keyword argument of that name (a mapping: parameter to model's name), waiting
        here until it is loaded. ``processes``: that many workers for this type alone. ``callback`` is called with
        the task's id and its future when one ends, on some thread. The rest is as for the executor, whose values
        hold where none are given. Raises TypeError for a function without a name of its own, BadArgument for a
        type or a model that can't be.
        """
        if name in self._types:
            raise BadArgument(f"task type {name!r} is registered already")
        named = dict(models) if isinstance(models, Mapping) else {model: model for model in models}
        own = {"retries": checked("retries", retries, 0), "timeout": timeout, "max_run": max_run}
        terms = replace(self._terms, **{key: value for key, value in own.items() if value is not None})
        what = work(function, (), {})
        found = {parameter: self._model(model) for parameter, model in named.items()}
        group = SHARED
        if checked("processes", processes) is not None:
            group = f"type-{name}"
            self._pool.add_group(group, processes or 1)
        self._types[name] = TaskType(what, found, group, terms, callback)

    def _model(self, name: str) -> Model:
        if self._host is None:
            self._host = connect()
        return self._host.model(name)

    # -- tasks -------------------------------------------------------------------------------------------

    def submit_task(self, task_id: Any, task_type: str, /, **kwargs: Any) -> Future[Any]:
        """A task of a registered type; its future, which `tasks` remembers under ``task_id`` (hashable).

        Raises BadArgument for an unknown type, or an id that is on its way; Overloaded or RuntimeError as `submit`.
        """
        kind = self._type(task_type)
        return self._submit_task(task_id, task_type, kwargs, kind.terms)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """The future of ``fn(*args, **kwargs)`` in a worker. Its `cancel` also ends what has begun.

        Raises TypeError for a function that can't be found by its name, Overloaded where too many tasks are in
        flight and ``when_full`` says so, RuntimeError after `shutdown`.
        """
        return self._submit(fn, args, kwargs, self._terms)

    def with_timeout(self, seconds: float | None) -> Executor:
        """The same executor with another deadline for what is submitted through what is returned."""
        return WithTimeout(self, seconds)

    def result(self, task_id: Any, timeout: float | None = None) -> Any:
        """The result of a task by its id, waiting for it. Raises KeyError for one that is not remembered."""
        return self.tasks[task_id].result(timeout)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As the standard's: take nothing more in, and wait until all is done. A Ctrl-C meanwhile ends it at once."""
        self._pool.close(wait=wait, cancel_waiting=cancel_futures)

    def stop(self) -> None:
        """Cancel everything, what runs included, and end the workers now."""
        self._pool.stop()

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None:
        if kind is not None and not issubclass(kind, Exception):  # Ctrl-C: nobody waits for the rest
            self.stop()
        else:
            self.shutdown()

    def _submit(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], terms: Terms
    ) -> TaskFuture:
        task = Task(getattr(fn, "__qualname__", "a task"), work(fn, args, kwargs), terms)
        self._pool.put(task, SHARED)
        return task.future

    def _type(self, name: str) -> TaskType:
        if name not in self._types:
            known = ", ".join(sorted(self._types)) or "none"
            raise BadArgument(f"task type {name!r} is not registered; registered are: {known}")
        return self._types[name]

    def _submit_task(self, task_id: Any, task_type: str, kwargs: dict[str, Any], terms: Terms) -> TaskFuture:
        kind = self._types[task_type]
        reference, args, given = kind.work
        what = Work(reference, args, {**kind.models, **given, **kwargs})
        task = Task(f"task {task_id!r} ({task_type})", what, terms, task_id)
        future = task.future
        self.tasks.add(task_id, future)
        try:
            self._pool.put(task, kind.group)
        except BaseException:
            self.tasks.drop(task_id)
            raise
        future.add_done_callback(lambda ended: self.tasks.ended(task_id, ended))
        if (callback := kind.callback) is not None:
            future.add_done_callback(lambda ended: callback(task_id, ended))
        return future


class WithTimeout(Executor):
    """An executor with a deadline of its own; everything else is the other's."""

    def __init__(self, executor: TaskExecutor, seconds: float | None) -> None:
        self._executor = executor
        self._seconds = deadlines.checked("timeout", seconds)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """As `TaskExecutor.submit`."""
        executor = self._executor
        return executor._submit(fn, args, kwargs, replace(executor._terms, timeout=self._seconds))

    def submit_task(self, task_id: Any, task_type: str, /, **kwargs: Any) -> Future[Any]:
        """As `TaskExecutor.submit_task`."""
        terms = replace(self._executor._type(task_type).terms, timeout=self._seconds)
        return self._executor._submit_task(task_id, task_type, kwargs, terms)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Shut the executor down."""
        self._executor.shutdown(wait, cancel_futures=cancel_futures)
