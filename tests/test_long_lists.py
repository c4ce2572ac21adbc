"""More arrays than one frame can name: in a call, in its result, and in what is told of them afterwards."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import pytest

from sharedmodel import wire
from sharedmodel.kept import Input, Kept
from sharedmodel.lent import Lent
from sharedmodel.memory import Owner
from sharedmodel.tensor import Array, TensorRef

from .inside import call, serving, session_with

FEW = np.ones(600, "f4")  # too large to ride in a frame
MANY = 25_000  # results, of which to give back all in one call would take a frame of 100 KB
TOO_MANY = 120_000


class Hoard:
    """Keeps arrays, and gives them."""

    kept: Any = None

    def keep(self, arrays: list[Array]) -> int:
        self.kept = arrays
        return len(arrays)

    def let_go(self) -> None:
        self.kept = None

    def give(self, count: int) -> list[Array]:
        return [np.full_like(FEW, number) for number in range(count)]


def test_a_call_after_thousands_of_results_were_given_back_is_a_call_as_any_other(runtime: str) -> None:
    with serving(runtime, hoard=Hoard()) as service, session_with(service) as session:
        found = call(session, "give", MANY, on="hoard")
        assert len(found) == MANY and found[-1][0] == MANY - 1
        del found
        assert call(session, "keep", [], on="hoard") == 0  # its session had no room for arguments yet
        (peer,) = service.peers.values()
        assert peer.room.replies.live_bytes < 1 << 20


def test_thousands_of_arguments_that_a_model_keeps_are_free_again_when_it_lets_go(runtime: str) -> None:
    with serving(runtime, hoard=Hoard()) as service, session_with(service) as session:
        assert call(session, "keep", [FEW] * MANY, on="hoard") == MANY
        kept = session.channel.requests.live_bytes
        assert kept >= MANY * FEW.nbytes
        call(session, "let_go", on="hoard")
        call(session, "keep", [], on="hoard")
        assert session.channel.requests.live_bytes < 1 << 20


@pytest.mark.parametrize("count", [0, 1, TOO_MANY])
def test_what_a_model_keeps_is_told_in_frames_of_which_none_is_too_long(count: int) -> None:
    arrays = [np.zeros(1) for _ in range(count)]
    inputs: list[Input] = [(wire.MAX_FRAME << 20 | at, weakref.ref(array)) for at, array in enumerate(arrays)]
    kept, lent = Kept(), Lent(Owner(lambda nbytes: None, 0))
    for _, rid, held in _messages(kept.held(7, inputs)):
        lent.hold(rid, held)
    refs = [TensorRef(1, 0, 8, serial) for serial, _ in inputs]
    free = TensorRef(1, 0, 8, 3)
    assert lent.without_held(7, [*refs, free, *refs[:1]]) == [free, *refs[:1]]
    arrays.clear()
    for _, tickets in _messages(kept.released()):
        lent.let_go(tickets)
    assert not lent._kept and not lent.early and not lent.held


def _messages(data: bytes) -> list[list[Any]]:
    return [wire.read(payload, lambda code, data: data) for payload in wire.Framer().feed(data)]
