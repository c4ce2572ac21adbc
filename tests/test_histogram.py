"""Latencies in buckets: their sums, their differences, the quantiles they tell."""

from __future__ import annotations

from bisect import bisect_left

from hypothesis import given
from hypothesis import strategies as st

from sharedmodel.server.metrics.histogram import BOUNDS, SIZE, added, quantile, since

TIMES = st.lists(st.floats(0.0, 60.0) | st.floats(60.0, 7000.0), max_size=50)


def filled(times: list[float]) -> list[int]:
    buckets = [0] * SIZE
    for time in times:
        buckets[bisect_left(BOUNDS, time)] += 1
    return buckets


def test_the_bounds_grow() -> None:
    assert list(BOUNDS) == sorted(set(BOUNDS)) and BOUNDS[0] == 1e-5 and BOUNDS[-1] == 7000.0


@given(TIMES, TIMES)
def test_the_buckets_of_two_hosts_add_up_to_those_of_all_calls(one: list[float], other: list[float]) -> None:
    assert added([filled(one), filled(other)]) == filled(one + other)


@given(TIMES, TIMES)
def test_what_came_since_is_what_was_not_there_before(before: list[float], later: list[float]) -> None:
    assert since(filled(before + later), filled(before)) == filled(later)


def test_a_process_that_began_anew_has_all_of_its_calls_since() -> None:
    assert since(filled([1.0]), filled([1.0, 1.0])) == filled([1.0])


def test_no_calls_have_no_quantile() -> None:
    assert quantile(filled([]), 0.5) is None


@given(TIMES.filter(bool), st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0]))
def test_a_quantile_lies_in_the_bucket_of_the_call_it_stands_for(times: list[float], share: float) -> None:
    ordered = sorted(times)
    wanted = ordered[max(0, -int(-share * len(times) // 1) - 1)]
    index = bisect_left(BOUNDS, wanted)
    found = quantile(filled(times), share)
    assert found is not None
    assert (BOUNDS[index - 1] if index else 0.0) <= found <= BOUNDS[index]


def test_calls_of_minutes_are_told_apart() -> None:
    for seconds in (300.0, 1800.0):
        found = quantile(filled([seconds] * 100), 0.5)
        assert found is not None and 0.75 <= found / seconds <= 1.25


def test_what_took_longer_than_any_bound_is_told_as_the_last_bound() -> None:
    assert quantile(filled([1e6]), 0.5) == BOUNDS[-1]
