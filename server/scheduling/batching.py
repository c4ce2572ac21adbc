"""Several calls run as one: what an adapter has to offer for it, and what is done with that.

An adapter that can batch offers a `Batching`; the lanes ask it which calls fit together and have it run
them. Each caller's result is then its own: what a run made for all of them is copied into memory of each
caller's session (`own`).
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from sharedmodel import reply
from sharedmodel.call import NEVER, Call
from sharedmodel.encoder import INLINE_MAX
from sharedmodel.errors import Cancelled
from sharedmodel.reply import Serving
from sharedmodel.tensor import Array

from .job import Job

logger = logging.getLogger("sharedmodel.host")


class Measure(NamedTuple):
    """How a call fits into a batch: only beside equal keys; rows it adds; its longest row (see `job.Asked`)."""

    key: Hashable
    rows: int = 1
    length: int = 1


class Request(NamedTuple):
    """One call of several that run together. ``serving``: the call itself, None outside a host."""

    method: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    serving: Serving | None = None

    @property
    def cancelled(self) -> bool:
        """Whether its caller has given up."""
        return self.serving is not None and self.serving.cancelled

    def mark(self, began: float = 0.0, made: float = NEVER) -> None:
        """Note the times of a run alone in the call (see `sharedmodel.call`): so far it has none."""
        if isinstance(self.serving, Call):
            self.serving.began, self.serving.joined, self.serving.made = began, None, made

    def own(self, array: Array) -> Array:
        """A copy in memory of the caller's session, which keeps nothing of the original alive."""
        if array.nbytes <= INLINE_MAX:  # it rides in the answer's frame, and so is copied by that
            return array if isinstance(self.serving, Call) else array.copy()
        with serving(self.serving):
            copy = reply.empty(array.shape, array.dtype)
        copy[...] = array
        return copy


class Batching(Protocol):
    """An adapter's way to run several calls as one."""

    def measure(self, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Measure | None:
        """How a call fits into a batch; None: it runs alone. Raises nothing, whatever the arguments are."""

    def run(self, requests: Sequence[Request]) -> list[Any]:
        """Each request's result, or the exception that it ends with, in their order.

        What fails for one must not fail the others. Must not keep ``requests``.
        """


class _Last:
    """Calls back, once, when the last of several calls is given up. It is told of one that is not, and then of the
    next: to be told of each would cost each call two turns at a lock."""

    __slots__ = ("_callback", "_calls", "_told")

    def __init__(self, calls: Sequence[Serving], callback: Callable[[], None]) -> None:
        self._callback = callback
        self._calls = list(calls)
        # One object, because what is added is taken away again by its identity; None: nobody is to be called back.
        self._told: Callable[[], None] | None = self.look

    def look(self) -> None:
        """Wait for the next one; there is only one to be told of at any time, and so one thread here."""
        told, calls = self._told, self._calls
        if told is None:
            return
        while calls and calls[-1].cancelled:
            calls.pop()
        if not calls:
            self._callback()
            return
        call = calls[-1]  # which may be taken from the list as soon as it is told of
        call.add_callback(told)
        if self._told is None:  # meanwhile
            call.remove_callback(told)

    def end(self) -> None:
        """From now on there is nobody to call back."""
        told, self._told = self._told, None
        for call in self._calls[-1:]:
            if told is not None:
                call.remove_callback(told)


class Together:
    """The calls of a batch as one: given up when all of them are."""

    def __init__(self, calls: Sequence[Serving]) -> None:
        self._calls = calls
        self._waiting: dict[Callable[[], None], _Last] = {}

    def empty(self, shape: Any, dtype: Any, order: Any) -> Array | None:
        """Nobody's memory: results are copied to each caller afterwards."""
        return None

    @property
    def cancelled(self) -> bool:
        return all(call.cancelled for call in self._calls)

    def add_callback(self, callback: Callable[[], None]) -> None:
        """Have it called once, when the last of the calls is given up."""
        last = self._waiting[callback] = _Last(self._calls, callback)
        last.look()

    def remove_callback(self, callback: Callable[[], None]) -> None:
        last = self._waiting.pop(callback, None)
        if last is not None:
            last.end()


@contextlib.contextmanager
def serving(call: Serving | None) -> Iterator[None]:
    """What runs within it on this thread serves this call (see `sharedmodel.reply`)."""
    before = reply.current.call
    reply.current.call = call
    try:
        yield
    finally:
        reply.current.call = before


@contextlib.contextmanager
def serving_all(requests: Sequence[Request]) -> Iterator[None]:
    """What runs within it serves all of these; it is cancelled when all of them are."""
    calls = [request.serving for request in requests if request.serving is not None]
    joined = time.monotonic(), len(requests)
    with serving(Together(calls) if len(calls) == len(requests) else None):
        yield
    made = time.monotonic()
    for call in calls:
        if isinstance(call, Call):
            call.joined, call.made = joined, made


def each_alone(requests: Sequence[Request], run: Callable[[Request], Any]) -> list[Any]:
    """Each request's result, or the exception that ``run`` raised for it; none for who has given up."""
    for request in requests:
        request.mark()  # to wait for those before it is no run of its own
    return [_alone(request, run) for request in requests]


def run_together(batching: Batching, jobs: Sequence[Job]) -> None:
    """Run jobs as one and answer each. Raises nothing."""
    requests: list[Request] = []
    try:
        requests += [job.request() for job in jobs]
        results = batching.run(requests)
        if len(results) != len(jobs):
            raise RuntimeError(f"{type(batching).__name__}.run() gave {len(results)} results for {len(jobs)} calls")
    except BaseException as exc:
        results = [exc] * len(jobs)
    requests.clear()  # answers tell which arguments are still referred to: not on our account
    results.reverse()
    for job in jobs:
        try:
            if isinstance(results[-1], BaseException):
                job.fail(results.pop())
            else:
                job.answer(results.pop())
        except Exception:
            logger.exception("an answer could not be given")  # the others are owed theirs all the same


def _alone(request: Request, run: Callable[[Request], Any]) -> Any:
    if request.cancelled:
        return Cancelled("the call was cancelled before it ran")
    began = time.monotonic()
    request.mark(began)
    try:
        with serving(request.serving):
            return run(request)
    except BaseException as exc:
        return exc
    finally:
        request.mark(began, time.monotonic())
