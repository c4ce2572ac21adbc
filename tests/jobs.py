"""Jobs for the scheduler's tests: they do what they are told and note how they ended."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

from sharedmodel.server.scheduling.batching import Request


@dataclass(eq=False)
class FakeJob:
    """``work`` runs it alone and gives its result. ``ends`` has its results and errors: one, if all is well."""

    client: Hashable = "client"
    key: Hashable | None = None
    rows: int = 1
    length: int = 1
    priority: int = 0
    deadline: float | None = None
    cancelled: bool = False
    work: Callable[[], Any] = lambda: "done"
    ends: list[Any] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None
    withdraw: Callable[[], None] | None = None

    def queued(self, withdraw: Callable[[], None]) -> None:
        self.withdraw = withdraw

    def run(self) -> None:
        self.thread = threading.current_thread()
        self.answer(self.work())

    def request(self) -> Request:
        self.thread = threading.current_thread()
        return Request("run", (self,), {})

    def answer(self, value: Any) -> None:
        self.ends.append(value)
        self.ended.set()

    def fail(self, exc: BaseException) -> None:
        self.answer(exc)

    @property
    def end(self) -> Any:
        """How it ended, once it has."""
        assert self.ended.wait(30)
        assert len(self.ends) == 1, self.ends
        return self.ends[0]
