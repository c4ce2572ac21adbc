"""The calls of one kind: all are counted, of the quick ones some are measured and stand for the others."""

from __future__ import annotations

import threading
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from sharedmodel.server.metrics.cell import ALIKE, Cell, Sum
from sharedmodel.server.metrics.histogram import SIZES
from sharedmodel.server.metrics.stages import STAGES

QUICK, SLOW = 20e-6, 1.0


class Ended(NamedTuple):
    quick: bool
    refused: bool = False


def end(cell: Cell, call: Ended) -> None:
    if call.refused:
        cell.refused += 1
    elif call.quick and cell.left:
        cell.left -= 1
    else:
        cell.measure(0.0, 0.0, QUICK if call.quick else SLOW, 0.0, quick=call.quick)


CALLS = st.lists(st.builds(Ended, st.booleans(), st.booleans()), max_size=200)


@given(CALLS)
def test_calls_and_histograms_count_every_call_however_few_are_measured(calls: list[Ended]) -> None:
    cell = Cell()
    for call in calls:
        end(cell, call)
    found = Sum([cell])
    ran = [call for call in calls if not call.refused]
    assert (found.calls, found.refused) == (len(calls), len(calls) - len(ran))
    stages = found.stages()
    assert [sum(stages[stage]["buckets"]) for stage in STAGES] == [len(ran)] * len(STAGES)
    slow = sum(not call.quick for call in ran)
    assert abs(stages["total"]["seconds"] - (slow * SLOW + (len(ran) - slow) * QUICK)) < 1e-9


@given(CALLS, st.integers(0, 200))
def test_no_number_ever_falls(calls: list[Ended], look: int) -> None:
    cell = Cell()
    for call in calls[:look]:
        end(cell, call)
    before = cell.read()[2]
    for call in calls[look:]:
        end(cell, call)
    assert all(a <= b + 1e-12 for a, b in zip(before, cell.read()[2], strict=True))


def test_one_in_thirty_two_quick_calls_is_measured_and_stands_for_those_after_it() -> None:
    cell = Cell()
    cell.measure(0.0, 0.0, 10e-6, 0.0, quick=True)
    for _ in range(ALIKE):
        end(cell, Ended(quick=True))
    assert cell.left == 0
    cell.measure(0.0, 0.0, 90e-6, 0.0, quick=True)
    assert abs(Sum([cell]).stages()["infer"]["seconds"] - (32 * 10e-6 + 90e-6)) < 1e-12


def test_a_slow_call_stands_for_itself_only() -> None:
    cell = Cell()
    for call in [Ended(quick=True), Ended(quick=False), Ended(quick=True), Ended(quick=True)]:
        end(cell, call)
    assert abs(Sum([cell]).stages()["infer"]["seconds"] - (SLOW + 3 * QUICK)) < 1e-9


def test_runs_are_told_by_their_size() -> None:
    cells = [Cell(), Cell()]
    for number in range(12):  # three batches of four, some of whose calls end on another thread
        cells[number % 2].measure(0.0, 1e-3, 1e-3, 0.0, size=4)
    for _ in range(40):
        end(cells[0], Ended(quick=True))
    assert Sum(cells).runs() == [40, 0, 3] + [0] * (len(SIZES) - 2)


def test_a_sum_adds_to_another() -> None:
    cells = [Cell(), Cell()]
    for cell in cells:
        end(cell, Ended(quick=True))
        end(cell, Ended(quick=True, refused=True))
    total = Sum([Sum([cells[0]]), cells[1]])
    assert (total.calls, total.refused) == (4, 2)
    assert total.numbers == Sum(cells).numbers


def test_who_reads_while_calls_end_sees_no_half_of_one() -> None:
    cell, done = Cell(), threading.Event()

    def work() -> None:
        for number in range(20_000):
            end(cell, Ended(quick=number % 5 > 0))
        done.set()

    worker = threading.Thread(target=work)
    worker.start()
    before = cell.read()[2]
    while not done.is_set():
        _, _, numbers = cell.read()
        assert all(a <= b + 1e-9 for a, b in zip(before, numbers, strict=True))
        rows = Sum([cell]).stages()
        assert len({sum(rows[stage]["buckets"]) for stage in STAGES}) == 1
        before = numbers
    worker.join()
    assert cell.read()[0] == 20_000
