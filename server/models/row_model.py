"""What adapters have in common whose calls are rows of tokens: an engine, and runs of as many rows as fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, Generic, Protocol, TypeVar

from sharedmodel import reply
from sharedmodel.errors import BadArgument, Cancelled

from ..machine.batches import Failed, split_and_retry
from ..machine.governor import CPU
from .embedding.packing import runs
from .onnx_device import CPU_PROVIDER

# Of texts with 3 to 250 tokens MiniLM makes 64 vectors in 0.85 s this way, on two processors, and in 1.58 s where
# all are filled up to the longest; of sentences of 5 to 40 words 32 in 0.20 s and 0.26 s.
_ALIKE: Final = 0.75


class Shrinking(Protocol):
    """What every engine has."""

    def shrink(self) -> None:
        """Have the next run give back memory that the library holds and does not use."""


Engine = TypeVar("Engine", bound=Shrinking)
Row = TypeVar("Row")
Result = TypeVar("Result")


def likeness(device: str, providers: Sequence[str]) -> float:
    """How alike in length the rows of a run shall be (see `runs`): a GPU has one large run before several small."""
    return _ALIKE if device == CPU and tuple(providers) == (CPU_PROVIDER,) else 0.0


class RowModel(Generic[Engine]):
    """A loaded model, until it is closed."""

    _engine: Engine | None = None

    def __init__(self, tokens_per_run: int, alike: float = 0.0) -> None:
        """``alike``: see `runs`. Raises BadArgument for no number of tokens."""
        if tokens_per_run < 1:
            raise BadArgument(f"tokens_per_run is a number of tokens, 1 or more, not {tokens_per_run}")
        self._budget = tokens_per_run
        self._alike = alike

    def shrink(self) -> None:
        """Have the next run give back memory that the library holds and does not use."""
        engine = self._engine
        if engine is not None:
            engine.shrink()

    def filling(self, tokens: int) -> list[str]:
        """Texts that fill one run, each of so many tokens when it is cut to them."""
        return [" ".join(["a"] * tokens)] * max(1, self._budget // tokens)

    def close(self) -> None:
        """Lets the model go. Calls that are running keep it until they are done."""
        self._engine = None

    def _opened(self) -> Engine:
        engine = self._engine
        if engine is None:
            raise RuntimeError("this model is closed")
        return engine

    def _each(
        self,
        rows: Sequence[Row],
        lengths: Sequence[int],
        run: Callable[[Sequence[Row]], Sequence[Result]],
        beams: int = 1,
    ) -> Iterator[tuple[int, Result]]:
        """Each row's number and what ``run`` makes of it, as it is made; a row is ``beams`` times its length."""
        for chosen in runs(lengths, max(1, self._budget // beams), self._alike):
            if reply.cancelled():
                raise Cancelled("the call was cancelled while it ran")
            # What does not fit into memory together is halved, and halved again.
            some = split_and_retry([rows[number] for number in chosen], run, between=self.shrink)
            for number, one in zip(chosen, some, strict=True):
                if isinstance(one, Failed):
                    raise one.error
                yield number, one
