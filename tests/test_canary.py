"""What tells whether a model is fit to serve: its canaries' results, compared bit by bit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sharedmodel.errors import Stuck
from sharedmodel.server.canary import AGAIN, CHANGED, WELL, Canary, CanaryFailed, Probe, Steady, fingerprint, matches
from sharedmodel.server.chore import Chore


class Model:
    """Gives what it is told to, in turn; an exception is raised."""

    def __init__(self, *results: Any) -> None:
        self.results = list(results)
        self.given: list[Any] = []

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        self.given.append((args, kwargs))
        result = self.results.pop(0) if len(self.results) > 1 else self.results[0]
        if isinstance(result, Exception):
            raise result
        return result

    def stream(self) -> Iterator[int]:
        yield 1
        yield 2


PREDICT = Probe("predict")


def test_the_same_bits_are_well_for_ever() -> None:
    canary, model = Canary(PREDICT), Model(np.float32([1, np.nan]))
    for _ in range(5):
        canary.sing(model)


def test_a_model_that_raises_is_not_fit() -> None:
    with pytest.raises(CanaryFailed, match=r"its canary predict\(\) raised ValueError: no weights"):
        Canary(PREDICT).sing(Model(ValueError("no weights")))


@pytest.mark.parametrize("sung", [1, 2])
def test_other_bits_than_when_it_was_loaded_are_a_sickness(sung: int) -> None:
    canary = Canary(PREDICT)
    for _ in range(sung):
        canary.sing(Model(np.float32([1.0])))
    with pytest.raises(CanaryFailed, match="another result than when it was loaded"):
        canary.sing(Model(np.nextafter(np.float32([1.0]), np.float32(2))))


def test_a_model_that_never_gives_the_same_twice_is_not_sick() -> None:
    canary, model = Canary(PREDICT), Model(*range(20))
    for _ in range(10):
        canary.sing(model)


def test_on_a_gpu_any_answer_is_well_that_is_what_is_expected() -> None:
    canary, model = Canary(PREDICT, exact=False), Model(1, 1, 1, 2, 2, ValueError("lost"))
    for _ in range(5):
        canary.sing(model)
    with pytest.raises(CanaryFailed, match="lost"):
        canary.sing(model)
    with pytest.raises(CanaryFailed, match="where 3 is expected"):
        Canary(PREDICT._replace(expect=3), exact=False).sing(Model(2))


def test_one_that_was_steady_and_is_not_any_more_is_sick() -> None:
    steady = Steady()
    assert [steady.judge(bits) for bits in (b"a", b"a", b"b")] == [WELL, WELL, CHANGED]


def test_a_first_difference_is_looked_at_twice() -> None:
    steady = Steady()
    assert [steady.judge(b"a"), steady.judge(b"b"), steady.settle(b"b", b"b")] == [WELL, AGAIN, CHANGED]
    steady = Steady()
    assert [steady.judge(b"a"), steady.judge(b"b"), steady.settle(b"b", b"c")] == [WELL, AGAIN, WELL]
    assert steady.judge(b"d") == WELL


def test_results_that_can_not_be_compared_are_not() -> None:
    canary = Canary(PREDICT)
    for _ in range(3):
        canary.sing(Model(object()))


def test_a_result_has_to_be_what_is_expected() -> None:
    probe = PREDICT._replace(expect={"label": "cat", "scores": [0.5, 1]})
    Canary(probe).sing(Model({"label": "cat", "scores": np.float32([0.5, 1])}))
    with pytest.raises(CanaryFailed, match=r"gave {'label': 'dog'}, where {'label': 'cat', .*} is expected"):
        Canary(probe).sing(Model({"label": "dog"}))


def test_a_stream_is_read_to_its_end() -> None:
    Canary(Probe("stream", expect=[1, 2])).sing(Model())


def test_a_callback_that_fails_keeps_no_other_from_being_called(caplog: pytest.LogCaptureFixture) -> None:
    chore, called = Chore("predict"), []

    def fails() -> None:
        raise RuntimeError("no way to stop")

    chore.add_callback(fails)
    chore.add_callback(lambda: called.append(chore.cancelled))
    chore.condemn(Stuck("it took too long"))
    assert called == [True] and "no way to stop" in caplog.text


def test_files_are_read_and_what_is_no_file_is_given_as_it_is(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(3))
    (tmp_path / "page.png").write_bytes(b"png")
    model = Model(None)
    Canary(Probe("predict", (f"@{tmp_path}/page.png", [1, "@"[:0]]), {"x": {"in": f"@{tmp_path}/x.npy"}})).sing(model)
    ((args, kwargs),) = model.given
    assert args == (b"png", [1, ""]) and kwargs["x"]["in"].tolist() == [0, 1, 2]
    with pytest.raises(CanaryFailed, match="No such file"):
        Canary(Probe("predict", ("@/nowhere/x.npy",))).sing(model)


@pytest.mark.parametrize(
    "one, other",
    [
        (np.zeros(2, "f4"), np.zeros(2, "f8")),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (np.float64(0.0), np.float64(-0.0)),
        ([1, [2]], [[1], 2]),
        ({"a": 1}, {"b": 1}),
        ("1", 1),
        (1, True),
        (["ab", "c"], ["a", "bc"]),
        (np.array(["a"]), np.array(["b"])),
        (np.array(["2024-01-01"], "M8[D]"), np.array(["2024-01-02"], "M8[D]")),
        (np.array([1], "M8[s]"), np.array([1], "M8[D]")),
        (np.zeros(2, [("at", "m8[s]")]), np.ones(2, [("at", "m8[s]")])),
        (np.datetime64("2024-01-01"), np.datetime64("2024-01-02")),
        (np.longdouble(1), np.longdouble(2)),
        (np.array(["a", None], object), np.array(["b", None], object)),
    ],
)
def test_what_is_different_has_another_fingerprint(one: Any, other: Any) -> None:
    assert fingerprint(one) == fingerprint(one) and fingerprint(one) is not None
    assert fingerprint(one) != fingerprint(other)


def test_where_the_array_lies_makes_no_difference() -> None:
    array = np.arange(12).reshape(3, 4)
    assert fingerprint(array.T) == fingerprint(np.ascontiguousarray(array.T))
    assert fingerprint(np.empty((0, 3))) is not None and fingerprint(np.float32(1)) is not None
    assert fingerprint([array, object()]) is None


@pytest.mark.parametrize(
    "value, expected, same",
    [
        (np.float32(0.1), 0.1, True),
        (0.1001, 0.1, False),
        (3, 3.0, True),
        ("a", "a", True),
        ([1, 2], [1, 2, 3], False),
        ((1, "x"), [1, "x"], True),
        ({"a": 1, "b": 2}, {"a": 1}, False),
        (None, False, False),
        (float("nan"), 1.0, False),
    ],
)
def test_numbers_are_expected_to_five_digits(value: Any, expected: Any, same: bool) -> None:
    assert matches(value, expected) is same
