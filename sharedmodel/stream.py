"""A result that comes item by item, as the method makes it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .reader import Waiter
    from .session import Session

CREDIT: Final = 8  # items taken, after which as many more are asked for


class Stream(Iterator[Any]):
    """The items of a streamed result, as they are made. Close it to end the method early."""

    def __init__(self, session: Session, waiter: Waiter, end: float | None) -> None:
        self._session = session
        self._waiter = waiter
        self._end = end
        self._taken = 0
        self._closed = False

    def __next__(self) -> Any:
        waiter = self._waiter
        items = waiter.stream
        assert items is not None
        if self._closed:
            raise StopIteration
        while not items and not waiter.done:
            waiter.ready = False
            if not items and not waiter.done:  # as they may have come before we reset the flag
                self._session.reader.wait(waiter, self._end)
        if items:
            self._taken += 1
            if self._taken % CREDIT == 0 and not waiter.done:
                self._session.sender.credit(waiter, CREDIT)
            return items.popleft()
        self._closed = True
        if waiter.error is not None:
            raise waiter.error
        raise StopIteration

    def close(self) -> None:
        """End the stream; the method in the host is told. Idempotent."""
        if not self._closed:
            self._closed = True
            self._session.cancel(self._waiter)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._closed and not self._waiter.done:
            self._session.channel.drops.append(("stream", self._waiter.rid))
            self._session.nudge()
