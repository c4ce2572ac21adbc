"""Rows of several calls of an embedder in the same runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sharedmodel.server.scheduling.batching import Measure, Request

from ..row_batching import RowBatching, apart, measured
from .packing import Row

_TOKEN: Final = 4  # characters, as a rule


class EmbedderBatching(RowBatching[list[Row]]):
    """One model's. Every call of `embed` fits beside every other; what differs is within its rows."""

    def measure(self, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Measure | None:
        """Rows are texts, lengths are estimated from their characters."""
        if method != "embed":
            return None
        texts = args[0] if args else kwargs.get("texts")
        return measured(texts, method, characters=_TOKEN, most=self._model.max_length)

    def prepared(self, request: Request) -> list[Row]:
        """Its texts, tokenised."""
        rows: list[Row] = self._model.rows(*request.args, **request.kwargs)
        return rows

    def ran(self, works: Sequence[list[Row]]) -> list[Any]:
        """Vectors of the rows of each."""
        return apart(self._model.vectors([row for rows in works for row in rows]), map(len, works))

    def result(self, request: Request, work: list[Row], found: Any) -> Any:
        """A copy in its caller's memory."""
        return request.own(found)
