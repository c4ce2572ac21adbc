"""What is said of what happens again and again."""

from __future__ import annotations

from sharedmodel.repeats import Repeats


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_first_few_are_said_and_of_the_others_how_many_they_were() -> None:
    clock = Clock()
    repeats = Repeats(few=2, every=60.0, clock=clock)
    assert [repeats.hear("a", f"a{n}") for n in range(5)] == ["a0", "a1", "", "", ""]
    assert repeats.hear("b", "b0") == "b0" and repeats.overdue() == []
    clock.now = 60.0
    assert repeats.overdue() == ["3 more in 60 s; the last: a4"]
    assert repeats.hear("a", "a5") == "" and repeats.overdue() == []
    clock.now = 125.0
    assert repeats.hear("a", "a6") == "2 more in 65 s; the last: a6"


def test_what_has_been_quiet_begins_anew() -> None:
    clock = Clock()
    repeats = Repeats(few=1, every=60.0, clock=clock)
    assert [repeats.hear("a", "one"), repeats.hear("a", "two")] == ["one", ""]
    clock.now = 60.0
    repeats.overdue()
    clock.now = 120.0
    assert repeats.hear("a", "three") == "three"


def test_nothing_is_kept_back_at_the_end() -> None:
    repeats = Repeats(few=1, clock=Clock())
    for text in ("one", "two", "three"):
        repeats.hear("a", text)
    assert repeats.overdue(all=True) == ["2 more in 0 s; the last: three"] and repeats.overdue(all=True) == []
