"""Exceptions as they cross, whatever their classes make of them: each call has an answer, and no other suffers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from sharedmodel import wire
from sharedmodel.errors import RemoteTraceback
from sharedmodel.failure import forget_frames, from_wire, to_wire
from sharedmodel.session import Session

from .inside import PATIENCE, call, error_of, serving, session_with


@dataclass(frozen=True)
class Frozen(Exception):
    what: str


class WithoutArgs(Exception):
    args = None  # type: ignore[assignment]


class OddArgs(Exception):
    @property
    def args(self) -> Any:  # type: ignore[override]
        raise RuntimeError("no args today")


class Empty(Exception):
    def __len__(self) -> int:
        return 0


def caused(cause: Exception) -> Exception:
    exc = ValueError("of another")
    exc.__cause__ = cause
    return exc


KINDS: dict[str, Callable[[], Exception]] = {
    "frozen": lambda: Frozen("solid"),
    "args that are None": WithoutArgs,
    "args that raise": OddArgs,
    "of a frozen one": lambda: caused(Frozen("solid")),
    "of an empty one": lambda: caused(Empty()),
}


class Raiser:
    """Raises what it is asked for."""

    def now(self, kind: str) -> None:
        raise KINDS[kind]()

    def later(self, kind: str) -> Iterator[int]:
        yield 1
        raise KINDS[kind]()

    def bytes_of_a_file(self, count: int) -> None:
        raise ValueError(b"\xff".decode("utf-8", "surrogateescape") * count)


@pytest.fixture
def raiser(runtime: str) -> Iterator[Session]:
    with serving(runtime, raiser=Raiser()) as service, session_with(service) as session:
        yield session


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_a_method_raises_its_caller_has_an_error_and_others_are_served(raiser: Session, kind: str) -> None:
    error = error_of(lambda: call(raiser, "now", kind, on="raiser"))
    assert type(error) is type(KINDS[kind]()) and isinstance(error.__cause__, RemoteTraceback)
    stream = call(raiser, "later", kind, on="raiser")
    assert next(stream) == 1
    assert type(error_of(lambda: next(stream))) is type(error)
    assert call(raiser, "echo", 1) == 1


def test_an_error_of_a_hundred_thousand_bytes_that_are_no_text_fits_into_a_frame(raiser: Session) -> None:
    error = error_of(lambda: raiser.call("raiser", "bytes_of_a_file", (100_000,), {}, PATIENCE))
    assert type(error) is ValueError and str(error).startswith(r"\udcff") and "characters more" in str(error)
    assert call(raiser, "echo", 1) == 1
    longest = "\U0001f600" * 100_000
    assert len(wire.frame([wire.FAILURE, 1, *to_wire(ValueError(longest))])) < wire.MAX_FRAME


def test_a_frozen_exception_crosses_whole_and_its_frames_are_let_go_of() -> None:
    try:
        raise Frozen("solid")
    except Frozen as exc:
        parts = to_wire(exc)
        forget_frames(exc)
        assert exc.__traceback__ is None
    there = from_wire(parts)
    assert there == Frozen("solid") and "Frozen" in str(there.__cause__)
