"""How far something is that takes long, told by whoever does it to whoever has it done.

    with heard_by(slot.hear):          a model is made on this thread ─► … ─► hearer()(Progress(…)) ─► slot.hear

Who does it need not know for whom; where nobody listens, nobody is told.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from .machine.amount import size


class Progress(NamedTuple):
    """``what`` is done, "downloading org/name" say, and how much of it; in bytes. ``total`` 0: not known."""

    what: str
    done: int = 0
    total: int = 0

    def __str__(self) -> str:
        if not self.total:
            return self.what
        (done, unit), whole = size(self.done).split(), size(self.total)
        share = f"{done if whole.endswith(f' {unit}') else f'{done} {unit}'} of {whole}"
        return f"{self.what}: {share} ({100 * self.done // self.total} %)"

    def plain(self) -> dict[str, Any]:
        """As the status has it."""
        return {"text": str(self), **self._asdict()}


def told_of(model: Mapping[str, Any]) -> list[str]:
    """What a model's status says of it, and of its versions."""
    versions = model.get("versions", {}).values()
    return list({str(told["progress"]["text"]): None for told in (model, *versions) if "progress" in told})


Hear = Callable[[Progress | None], None]
"""Hears how far something is, on any thread; None: it is over."""


class _Here(threading.local):
    hear: Hear | None = None


_here = _Here()


@contextmanager
def heard_by(hear: Hear) -> Iterator[None]:
    """What this thread does in the block, ``hear`` is told of, and of its end."""
    before, _here.hear = _here.hear, hear
    try:
        yield
    finally:
        _here.hear = before
        hear(None)


def hearer() -> Hear:
    """Whom to tell of what this thread does; may be called from any other."""
    return _here.hear or _nobody


def _nobody(progress: Progress | None) -> None:
    """Nobody listens."""
