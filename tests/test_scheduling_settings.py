"""Settings of the scheduler are refused by name, with what would be right."""

from __future__ import annotations

from typing import Any

import pytest

from sharedmodel.errors import BadArgument
from sharedmodel.server.scheduling.settings import Scheduling, problems


def test_by_default_calls_run_one_by_one() -> None:
    assert Scheduling() == Scheduling(1, 0.0, None, (), 4096, 1, False)
    assert problems({}) == {}


def test_a_list_out_of_a_file_is_fine() -> None:
    settings = Scheduling(max_batch=8, max_wait=1, token_budget=10, buckets=[8, 64], priorities=True)  # type: ignore[arg-type]
    assert settings.buckets == (8, 64) and hash(settings)


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("max_batch", 0, "give a number of rows, 1 or more, not 0"),
        ("max_batch", True, "give a number of rows, 1 or more, not True"),
        ("max_wait", -1.0, "give seconds, from 0 to 60, not -1.0"),
        ("max_wait", float("nan"), "give seconds, from 0 to 60, not nan"),
        ("max_wait", "2", "give seconds, from 0 to 60, not '2'"),
        ("token_budget", 0, "give a number of tokens, 1 or more, not 0"),
        ("buckets", (8, 8), r"each larger than the one before, not \(8, 8\)"),
        ("buckets", (0, 8), r"lengths of 1 or more"),
        ("buckets", 8, "not 8"),
        ("queue", 0, "give a number of jobs, 1 or more, not 0"),
        ("lanes", 1.5, "give a number of runs, 1 or more, not 1.5"),
        ("priorities", 1, "give true or false, not 1"),
        ("max_wait", 0.5, "set max_batch to more than 1 as well"),
        ("buckets", (8,), "set max_batch to more than 1 as well"),
    ],
)
def test_a_wrong_setting_is_named_with_what_would_be_right(key: str, value: Any, text: str) -> None:
    with pytest.raises(BadArgument, match=f"^{key}: .*{text}"):
        Scheduling(**{key: value})
    assert list(problems({key: value})) == [key]


def test_all_mistakes_are_told_at_once_and_unknown_keys_with_what_is_allowed() -> None:
    with pytest.raises(BadArgument, match=r"queue: .*; lanes: "):
        Scheduling(queue=0, lanes=0)
    assert problems({"max_bach": 2}) == {
        "max_bach": "unknown (allowed: max_batch, max_wait, token_budget, buckets, queue, lanes, priorities)"
    }
