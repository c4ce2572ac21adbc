"""Rows of several calls in the same runs: sorted by length together, so that none pays for another's padding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from sharedmodel.errors import Cancelled
from sharedmodel.server.scheduling.batching import Measure, Request, each_alone, serving_all

from .packing import Row

if TYPE_CHECKING:
    from ..embedder import EmbedderModel

_TOKEN: Final = 4  # characters, as a rule; an estimate for the queue, the runs are packed by real lengths
_SPECIAL: Final = 2


class EmbedderBatching:
    """One model's. Every call of `embed` fits beside every other; what differs is within its rows."""

    def __init__(self, model: EmbedderModel) -> None:
        self._model = model

    def measure(self, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Measure | None:
        """Rows are texts, lengths are estimated from their characters."""
        texts = args[0] if args else kwargs.get("texts")
        if method != "embed" or not isinstance(texts, list) or not texts:
            return None
        longest = max(len(text) if isinstance(text, str) else _SPECIAL for text in texts)
        return Measure("embed", len(texts), min(longest // _TOKEN + _SPECIAL, self._model.max_length))

    def run(self, requests: Sequence[Request]) -> list[Any]:
        """See `Batching.run`. A call whose texts are wrong fails alone; where the runs fail each call runs alone."""
        if len(requests) > 1:
            try:
                return self._together(requests)
            except Exception:  # its causes come to light in the runs alone
                pass
        return each_alone(requests, self._alone)

    def _alone(self, request: Request) -> Any:
        return self._model.embed(*request.args, **request.kwargs)

    def _together(self, requests: Sequence[Request]) -> list[Any]:
        tokenized = [self._rows(request) for request in requests]
        rows = [row for found in tokenized if isinstance(found, list) for row in found]
        with serving_all(requests):
            vectors = self._model.vectors(rows)
        results: list[Any] = []
        start = 0
        for request, found in zip(requests, tokenized, strict=True):
            if isinstance(found, Exception):
                results.append(found)
                continue
            part = vectors[start : start + len(found)]
            start += len(found)
            results.append(Cancelled("the call was cancelled while it ran") if request.cancelled else request.own(part))
        return results

    def _rows(self, request: Request) -> list[Row] | Exception:
        try:
            return self._model.rows(*request.args, **request.kwargs)
        except Exception as exc:
            return exc
