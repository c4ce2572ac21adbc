"""A result that comes item by item, as the method makes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from .errors import HostLost

if TYPE_CHECKING:
    from .reader import Waiter
    from .session import Session

CREDIT: Final = 8  # items taken, after which as many more are asked for


class Stream(Iterator[Any]):
    """The items of a streamed result, as they are made. Close it to end the method early.

    ``begin_again``: where the method may run twice, another stream of it, for when its host died before the first
    item was taken. After that it ends with HostLost: a second run may make other items.
    """

    def __init__(self, session: Session, waiter: Waiter, end: float | None) -> None:
        self.session = session
        self.begin_again: Callable[[HostLost], Stream] | None = None
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
                self.session.reader.wait(waiter, self._end)
        again, self.begin_again = self.begin_again, None
        if items:
            self._taken += 1
            if self._taken % CREDIT == 0 and not waiter.done:
                self.session.sender.credit(waiter, CREDIT)
            return items.popleft()
        if again is not None and isinstance(waiter.error, HostLost):
            self._become(again(waiter.error))
            return next(self)
        self._closed = True
        if waiter.error is not None:
            raise waiter.error
        raise StopIteration

    def _become(self, other: Stream) -> None:
        self.session, self._waiter, self._end = other.session, other._waiter, other._end
        self.begin_again = other.begin_again
        other._closed = True

    def close(self) -> None:
        """End the stream; the method in the host is told. Idempotent."""
        if not self._closed:
            self._closed = True
            self.session.cancel(self._waiter)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._closed and not self._waiter.done:
            self.session.channel.drops.append(("stream", self._waiter.rid))
            self.session.nudge()
