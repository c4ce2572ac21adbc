"""A session's call as a job of a model's lanes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from sharedmodel.call import Call
from sharedmodel.objects import Served
from sharedmodel.peer import Peer

from .batching import Batching, Measure, Request

_NOTHING: Final[Any] = ()
_SINGLE: Final = Measure(None)


class CallJob:
    """One call of one method of a model; see `job.Job`.

    ``took`` is how many seconds its method ran alone, once it has.
    """

    __slots__ = ("_begun", "_withdraw", "call", "deadline", "key", "length", "priority", "rows", "served", "took")

    def __init__(self, call: Call, served: Served, batching: Batching | None = None, priority: int = 0) -> None:
        fit = _SINGLE
        if batching is not None and call.problem is None and _plain(served, call.method):
            fit = batching.measure(call.method, call.args, call.kwargs) or _SINGLE
        self.call = call
        self.served = served
        self.deadline: float | None = call.deadline
        self.key, self.rows, self.length = fit
        self.priority = priority
        self.took = 0.0
        self._begun = False
        self._withdraw: Callable[[], None] | None = None

    @property
    def client(self) -> Peer:
        return self.call.peer

    @property
    def cancelled(self) -> bool:
        return self.call.cancelled

    def queued(self, withdraw: Callable[[], None]) -> None:
        """Hear of it when the caller gives up."""
        self._withdraw = withdraw
        self.call.add_callback(withdraw)
        if self._begun:  # meanwhile, on another thread, which may have looked before there was anything
            self._begin()

    def run(self) -> None:
        self._begin()
        start = time.perf_counter()
        self.call.run(self.served)
        self.took = time.perf_counter() - start

    def request(self) -> Request:
        self._begin()
        call = self.call
        args, kwargs = call.args, call.kwargs
        call.args = call.kwargs = _NOTHING
        return Request(call.method, args, kwargs, call)

    def answer(self, value: Any) -> None:
        call = self.call
        try:
            data = call.peer.packed(call, value)
            del value  # an argument that came back is not kept by us when the answer tells what is kept
            call.peer.answer(call, data)
        except BaseException as exc:
            call.fail(exc)

    def fail(self, exc: BaseException) -> None:
        self._begin()
        self.call.fail(exc)

    def _begin(self) -> None:
        """It is not in the queue any more."""
        self._begun = True
        withdraw, self._withdraw = self._withdraw, None
        if withdraw is not None:
            self.call.remove_callback(withdraw)


def _plain(served: Served, method: str) -> bool:
    """Whether the method's result is sent as it is."""
    return method in served.exposed and method not in served.method_to_typeid
