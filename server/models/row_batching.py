"""Calls whose work is rows, run together: one run for the rows of all, one caller's mistake nobody else's.

requests ─► prepared: a work each, or its mistake ─► ran: all works at once ─► found, taken apart ─► result of each
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final, Generic, TypeVar

from sharedmodel.errors import Cancelled
from sharedmodel.server.scheduling.batching import Measure, Request, each_alone, serving, serving_all

Work = TypeVar("Work")

SPECIAL: Final = 2  # tokens that a text has besides its own


class RowBatching(ABC, Generic[Work]):
    """One model's `Batching`. Runs sort rows by length, so that none pays for another's padding."""

    def __init__(self, model: Any) -> None:
        self._model = model

    @abstractmethod
    def measure(self, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Measure | None:
        """See `Batching.measure`."""

    @abstractmethod
    def prepared(self, request: Request) -> Work:
        """What a call has to do. Raises what the call itself does, where it is wrong."""

    @abstractmethod
    def ran(self, works: Sequence[Work]) -> Sequence[Any]:
        """What comes of each work, of all of them run together."""

    @abstractmethod
    def result(self, request: Request, work: Work, found: Any) -> Any:
        """The call's result, of what came of its work; nothing of other calls' may be kept alive by it."""

    def run(self, requests: Sequence[Request]) -> list[Any]:
        """See `Batching.run`. A call whose rows are wrong fails alone; where the runs fail each call runs alone."""
        if len(requests) > 1:
            try:
                return self._together(requests)
            except Exception:  # its causes come to light in the runs alone
                pass
        return each_alone(requests, self._alone)

    def _alone(self, request: Request) -> Any:
        return getattr(self._model, request.method)(*request.args, **request.kwargs)

    def _together(self, requests: Sequence[Request]) -> list[Any]:
        works = [self._work(request) for request in requests]
        with serving_all(requests):
            found = iter(self.ran([work for work in works if not isinstance(work, Exception)]))
        results: list[Any] = []
        for request, work in zip(requests, works, strict=True):
            if isinstance(work, Exception):
                results.append(work)
                continue
            own = next(found)
            gone = request.cancelled
            results.append(
                Cancelled("the call was cancelled while it ran") if gone else self.result(request, work, own)
            )
        return results

    def _work(self, request: Request) -> Work | Exception:
        try:
            with serving(request.serving):  # what is made for its results lies in its own caller's memory
                return self.prepared(request)
        except Exception as exc:
            return exc


def apart(found: Any, counts: Iterable[int]) -> list[Any]:
    """What was found for the rows of several works, taken apart; ``counts``: how many rows each has."""
    sizes = list(counts)
    return [found[end - size : end] for size, end in zip(sizes, accumulate(sizes), strict=True)]


def measured(texts: Any, key: Hashable, *, characters: int, most: int) -> Measure | None:
    """Of a call with texts: its rows, and the longest in tokens, estimated from the ``characters`` of a token (the
    runs are packed by real lengths). None for what is no list of texts."""
    if not isinstance(texts, list) or not texts:
        return None
    longest = max(len(text) if isinstance(text, str) else SPECIAL for text in texts)
    return Measure(key, len(texts), min(longest // characters + SPECIAL, most))
