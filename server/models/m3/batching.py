"""Texts of several calls of a BGE-M3 in the same runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from sharedmodel import reply
from sharedmodel.server.scheduling.batching import Measure, Request

from ..row_batching import RowBatching, measured

if TYPE_CHECKING:
    from ..bgem3 import Asked

_TOKEN: Final = 3  # characters, as a rule


class M3Batching(RowBatching["Asked"]):
    """One model's. Every call of `encode` fits beside every other, whatever each wants."""

    def measure(self, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Measure | None:
        """Rows are texts, lengths are estimated from their characters."""
        if method != "encode":
            return None
        texts = args[0] if args else kwargs.get("texts")
        told = args[1] if len(args) > 1 else kwargs.get("max_length")
        most = told if isinstance(told, int) and told > 0 else self._model.max_length
        return measured(texts, method, characters=_TOKEN, most=most)

    def prepared(self, request: Request) -> Asked:
        """Its texts, tokenised, and its results in its caller's memory."""
        asked: Asked = self._model.asked(*request.args, **request.kwargs, empty=reply.empty)
        return asked

    def ran(self, works: Sequence[Asked]) -> Sequence[Asked]:
        """The same: each has its results now."""
        self._model.run(works)
        return works

    def result(self, request: Request, work: Asked, found: Any) -> Any:
        """What it wanted."""
        return work.results.told()
