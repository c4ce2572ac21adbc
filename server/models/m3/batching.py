"""Texts of several calls in the same runs: sorted by length together, so that none pays for another's padding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from sharedmodel import reply
from sharedmodel.errors import Cancelled
from sharedmodel.server.scheduling.batching import Measure, Request, each_alone, serving, serving_all

if TYPE_CHECKING:
    from ..bgem3 import Asked, BgeM3Model

_TOKEN: Final = 3  # characters, as a rule; an estimate for the queue, the runs are packed by real lengths
_SPECIAL: Final = 2


class M3Batching:
    """One model's. Every call of `encode` fits beside every other, whatever each wants."""

    def __init__(self, model: BgeM3Model) -> None:
        self._model = model

    def measure(self, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Measure | None:
        """Rows are texts, lengths are estimated from their characters."""
        texts = args[0] if args else kwargs.get("texts")
        if method != "encode" or not isinstance(texts, list) or not texts:
            return None
        longest = max(len(text) if isinstance(text, str) else _SPECIAL for text in texts)
        told = args[1] if len(args) > 1 else kwargs.get("max_length", self._model.max_length)
        most = told if isinstance(told, int) and told > 0 else self._model.max_length
        return Measure("encode", len(texts), min(longest // _TOKEN + _SPECIAL, most))

    def run(self, requests: Sequence[Request]) -> list[Any]:
        """See `Batching.run`. A call whose texts are wrong fails alone; where the runs fail each call runs alone."""
        if len(requests) > 1:
            try:
                return self._together(requests)
            except Exception:  # its causes come to light in the runs alone
                pass
        return each_alone(requests, lambda request: self._model.encode(*request.args, **request.kwargs))

    def _together(self, requests: Sequence[Request]) -> list[Any]:
        asked = [self._asked(request) for request in requests]
        with serving_all(requests):
            self._model.run([one for one in asked if not isinstance(one, Exception)])
        return [
            one if isinstance(one, Exception) else _given_up() if request.cancelled else one.results.told()
            for request, one in zip(requests, asked, strict=True)
        ]

    def _asked(self, request: Request) -> Asked | Exception:
        try:
            with serving(request.serving):  # its results lie in its own caller's memory
                return self._model.asked(*request.args, **request.kwargs, empty=reply.empty)
        except Exception as exc:
            return exc


def _given_up() -> Cancelled:
    return Cancelled("the call was cancelled while it ran")
