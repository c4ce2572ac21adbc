"""One thread and the worker process it attends to: what is done with each task, and with one whose worker ends.

the worker ended under it      another is started, and the task runs again, as often as its terms say
it ran past its max_run        the worker is killed; the same
its caller gave it up          the worker is told, and after a grace killed; the next task finds a new one
"""

from __future__ import annotations

import threading
from functools import partial
from typing import Final, NamedTuple

from sharedmodel.errors import Stuck, WorkerLost
from sharedmodel.timers import Timers

from .task import Task
from .worker import Ended, Worker

_IDLE_ENDS: Final = 10  # times that a task may find its worker killed before it has begun


class Manner(NamedTuple):
    """How workers are kept. ``grace`` in seconds, between being told to stop and being killed; memory in bytes."""

    max_tasks: int | None = None
    memory_limit: int | None = None
    grace: float = 1.0


class Attendant:
    """Runs tasks one after the other. `abandon` and `stop` are for other threads."""

    def __init__(self, manner: Manner, timers: Timers) -> None:
        self._manner = manner
        self._timers = timers
        self._lock = threading.Lock()
        self._task: Task | None = None
        self._worker: Worker | None = None
        self._stuck: Task | None = None
        self._stopped = False

    def run(self, task: Task) -> None:
        """Do a task, and have it end in one way or another. Never raises."""
        task.abandoned = partial(self.abandon, task)
        self._task = task
        if self._stopped:
            task.cancel()
        try:
            self._run(task)
        except Exception as exc:
            task.fail(exc)
        finally:
            with self._lock:
                self._task = task.abandoned = None

    def _run(self, task: Task) -> None:
        left, idle_ends = task.terms.retries, _IDLE_ENDS
        while not task.done:
            try:
                self._once(task)
            except Ended as ended:
                self._forget()
                if not ended.begun and idle_ends:
                    idle_ends -= 1
                elif left > 0:
                    left -= 1
                else:
                    task.fail(self._reason(task, ended))

    def _once(self, task: Task) -> None:
        worker = self._ready()
        work, self._stuck = task.work, None
        if work is None:  # given up meanwhile
            return
        task.future.begun = True
        limit = task.terms.max_run
        timer = None if limit is None else self._timers.after(limit, partial(self._end_stuck, task, worker))
        spent = False
        try:
            task.succeed(worker.call(work))
        except Ended:
            raise
        except Exception as exc:
            spent = isinstance(exc, MemoryError)  # what else in it has failed to get memory, nobody knows
            task.fail(exc)
        finally:
            if timer is not None:
                self._timers.drop(timer)
        most = self._manner.max_tasks
        if spent or (most is not None and worker.tasks >= most):
            self.end()

    def _reason(self, task: Task, ended: Ended) -> Exception:
        tries = task.terms.retries + 1
        times = "" if tries == 1 else f", the last of {tries} times that it was tried"
        if self._stuck is task:
            return Stuck(f"{task.what} ran past its max_run of {task.terms.max_run:.3g} s{times}; {ended.how}")
        return WorkerLost(f"{task.what}: {ended.how}{times}", ended.exit_code)

    # -- the worker ------------------------------------------------------------------------------------

    def _ready(self) -> Worker:
        """A worker that can be called. Raises Ended where it ends before that, OSError where none can be started."""
        worker = self._worker
        if worker is not None and worker.usable:
            return worker
        self.end()
        worker = Worker(self._manner.memory_limit)
        with self._lock:
            self._worker = worker
        if self._stopped:
            worker.kill()
        worker.greet()
        return worker

    def end(self) -> None:
        """Let the worker end, if there is one."""
        if (worker := self._worker) is not None:
            worker.end(0.0 if self._stopped else self._manner.grace)
            self._forget()

    def _forget(self) -> None:
        with self._lock:
            self._worker = None

    # -- from other threads ----------------------------------------------------------------------------
    # They tell and kill with the lock held, so that the next task can't have begun; neither waits for the worker.

    def abandon(self, task: Task) -> None:
        """Nobody waits for a task any more: end its work."""
        with self._lock:
            worker = self._worker if self._task is task else None
            if worker is not None:
                worker.cancel()
        if worker is not None:
            self._timers.after(self._manner.grace, partial(self._end_if_at, task, worker))

    def stop(self) -> None:
        """End what runs, at once."""
        self._stopped = True
        with self._lock:
            task, worker = self._task, self._worker
        if task is not None:
            task.future.cancel()
        if worker is not None:
            worker.kill()

    def _end_if_at(self, task: Task, worker: Worker) -> None:
        with self._lock:
            if self._task is task and self._worker is worker:
                worker.kill()

    def _end_stuck(self, task: Task, worker: Worker) -> None:
        with self._lock:
            if self._task is task and self._worker is worker and not task.done:
                self._stuck = task
                worker.kill()
