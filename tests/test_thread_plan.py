"""Processors divided over models: everyone gets a thread, together they don't ask for more than there is."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedmodel.errors import BadArgument
from sharedmodel.server.machine.threads import Plan, Share, plan
from sharedmodel.server.machine.torch_threads import limit_torch

shares = st.lists(
    st.builds(
        Share,
        name=st.uuids().map(str),
        instances=st.integers(1, 6),
        weight=st.floats(0.01, 100) | st.sampled_from([1.0, 2.0]),
        threads=st.none() | st.integers(1, 8),
    ),
    max_size=6,
    unique_by=lambda share: share.name,
)
cores = st.integers(1, 128)


def together(made: Plan, of: list[Share], at_once: int | None = None) -> int:
    """The threads of those instances that have most of them."""
    each = sorted((made.threads[share.name] for share in of for _ in range(share.instances)), reverse=True)
    return sum(each[:at_once])


@given(cores)
def test_a_lone_model_gets_every_processor(count: int) -> None:
    assert plan(count, [Share("one")]).threads == {"one": count}


@given(cores, shares)
def test_every_instance_gets_a_thread_and_none_more_than_there_are_processors(count: int, of: list[Share]) -> None:
    for share in of:
        threads = plan(count, of).threads[share.name]
        assert 1 <= threads == share.threads if share.threads else 1 <= threads <= count


@given(cores, shares)
def test_all_together_ask_for_no_more_than_there_is(count: int, of: list[Share]) -> None:
    least = sum(share.instances * (share.threads or 1) for share in of)
    assert together(plan(count, of), of) <= max(count, least)


@given(cores, shares, st.integers(1, 8))
def test_as_many_as_are_busy_at_once_ask_for_no_more_than_there_is(count: int, of: list[Share], at_once: int) -> None:
    of = [share._replace(threads=None) for share in of]
    assert together(plan(count, of, at_once=at_once), of, at_once) <= max(count, at_once)


@given(cores, shares)
def test_a_heavier_model_never_gets_fewer_threads(count: int, of: list[Share]) -> None:
    of = [share._replace(threads=None, instances=1) for share in of]
    given_out = [plan(count, of).threads[share.name] for share in sorted(of, key=lambda share: share.weight)]
    assert given_out == sorted(given_out) or len({share.weight for share in of}) < len(of)


@given(cores, shares, st.none() | st.integers(1, 8))
def test_the_same_question_gets_the_same_answer(count: int, of: list[Share], at_once: int | None) -> None:
    assert plan(count, of, at_once=at_once) == plan(count, of, at_once=at_once)


@pytest.mark.parametrize(
    ("count", "of", "at_once", "expected"),
    [
        (8, [Share("a"), Share("b")], None, [4, 4]),
        (8, [Share("a", weight=3), Share("b")], None, [6, 2]),
        (8, [Share("a", instances=2), Share("b")], None, [3, 2]),
        (8, [Share("a", threads=5), Share("b"), Share("c")], None, [5, 2, 1]),
        (2, [Share("a"), Share("b"), Share("c"), Share("d")], None, [1, 1, 1, 1]),
        (4, [Share("a", weight=100), Share("b"), Share("c")], None, [2, 1, 1]),
        (8, [Share("a"), Share("b"), Share("c")], 1, [8, 8, 8]),
        (8, [Share("a"), Share("b"), Share("c"), Share("d")], 2, [4, 4, 4, 4]),
        (4, [Share("a", threads=16), Share("b")], None, [16, 1]),
        (3, [], None, []),
    ],
)
def test_examples(count: int, of: list[Share], at_once: int | None, expected: list[int]) -> None:
    assert list(plan(count, of, at_once=at_once).threads.values()) == expected


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((0, []), "cores is 0"),
        ((2, [Share("a", instances=0)]), r"a\.instances is 0"),
        ((2, [Share("a", threads=-1)]), r"a\.threads is -1"),
        ((2, [Share("a", weight=0)]), r"a\.weight is 0"),
        ((2, [Share("a", weight=float("nan"))]), r"a\.weight is nan"),
        ((2, [Share("a"), Share("a")]), "once: a, a"),
    ],
)
def test_what_can_not_be_planned_is_refused_with_the_reason(arguments: tuple[Any, Any], told: str) -> None:
    with pytest.raises(BadArgument, match=told):
        plan(*arguments)


def test_idle_threads_spin_only_where_nothing_else_runs() -> None:
    assert plan(4, [Share("a")], alone=True).spinning
    assert not plan(4, [Share("a")]).spinning
    assert not plan(4, [Share("a", instances=2)], alone=True).spinning
    assert not plan(4, [Share("a"), Share("b")], alone=True).spinning


def test_onnxruntime_takes_the_plan_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "1")
    onnxruntime = pytest.importorskip("onnxruntime")
    told = plan(6, [Share("a"), Share("b", weight=2)]).onnxruntime("b")
    options = onnxruntime.SessionOptions()
    for entry, value in told.pop("entries").items():
        options.add_session_config_entry(entry, value)
    for name, value in told.items():
        setattr(options, name, value)
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (4, 1)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_a_process_is_told_of_the_largest_of_its_models() -> None:
    made = plan(6, [Share("a"), Share("b", weight=2)])
    told = made.environment(["a", "b"])
    counts = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "RAYON")
    assert {told[f"{name}_NUM_THREADS"] for name in counts} == {"4"} == {told["VECLIB_MAXIMUM_THREADS"]}
    assert (told["OMP_WAIT_POLICY"], told["KMP_BLOCKTIME"], told["TOKENIZERS_PARALLELISM"]) == ("passive", "0", "false")
    assert made.environment(["a"])["OMP_NUM_THREADS"] == "2"
    assert made.environment([])["OMP_NUM_THREADS"] == "1"


def test_threads_that_may_spin_are_not_told_to_be_patient() -> None:
    assert "OMP_WAIT_POLICY" not in plan(4, [Share("a")], alone=True).environment(["a"])


def test_torch_is_not_imported_to_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert not limit_torch(2)
    assert "torch" not in sys.modules


def test_torch_takes_the_plan_once_and_says_when_it_is_too_late() -> None:
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed")
    code = (
        "import torch; from sharedmodel.server.machine.torch_threads import limit_torch\n"
        "first = limit_torch(3), torch.get_num_threads(), torch.get_num_interop_threads()\n"
        "print(first, limit_torch(1), torch.get_num_threads())"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment, timeout=300
    )
    assert done.stdout.strip() == "(True, 3, 1) True 1"
