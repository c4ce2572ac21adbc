"""When canaries and the end of idleness are due: decided from the time alone."""

from __future__ import annotations

import random

from sharedmodel.server.rounds import CANARY, EXPIRED, NEVER, REST, Rounds


def test_a_canary_is_due_on_each_beat_and_not_before() -> None:
    rounds = Rounds(60.0, None, 0.0)
    assert rounds.look(59.9, used=0.0, inside=0) == "" and rounds.next(59.9) == 60.0
    assert rounds.look(60.0, used=0.0, inside=0) == CANARY
    assert rounds.look(61.0, used=0.0, inside=1) == ""  # it sings
    assert rounds.next(61.0) < 70.0  # nobody tells when it has ended
    rounds.sung(65.0)
    assert rounds.next(65.0) == 125.0


def test_a_canary_gives_way_to_callers_but_not_for_ever() -> None:
    rounds = Rounds(60.0, None, 0.0)
    assert rounds.look(60.0, used=60.0, inside=3) == ""
    assert 60.0 < rounds.next(60.0) < 70.0
    assert rounds.look(119.0, used=119.0, inside=1) == ""
    assert rounds.look(120.0, used=120.0, inside=1) == CANARY


def test_nothing_is_due_where_nothing_is_asked_for() -> None:
    rounds = Rounds(0.0, None, 0.0)
    assert rounds.look(1e9, used=0.0, inside=0) == "" and rounds.next(1e9) == NEVER


def test_an_idle_model_expires_once() -> None:
    rounds = Rounds(0.0, 300.0, 0.0)
    assert rounds.look(299.0, used=0.0, inside=0) == "" and rounds.next(299.0) == 300.0
    assert rounds.look(300.0, used=0.0, inside=0) == EXPIRED
    assert rounds.look(900.0, used=0.0, inside=0) == "" and rounds.next(900.0) == NEVER


def test_a_call_puts_it_off_and_so_does_one_that_runs_for_long() -> None:
    rounds = Rounds(0.0, 300.0, 0.0)
    assert rounds.look(290.0, used=290.0, inside=0) == ""
    assert rounds.look(580.0, used=0.0, inside=1) == ""
    assert rounds.look(879.0, used=0.0, inside=0) == ""
    assert rounds.look(880.0, used=0.0, inside=0) == EXPIRED


def test_canaries_do_not_keep_an_idle_model_alive() -> None:
    rounds = Rounds(60.0, 100.0, 0.0)
    assert rounds.look(60.0, used=0.0, inside=0) == CANARY
    assert rounds.look(61.0, used=0.0, inside=1) == ""
    rounds.sung(62.0)
    assert rounds.look(100.0, used=0.0, inside=0) == EXPIRED


def test_looking_when_told_to_a_model_goes_soon_after_its_time_and_never_before() -> None:
    dice = random.Random(7)
    for _ in range(200):
        ttl, now, used, last = dice.uniform(0.1, 500), 0.0, 0.0, 0.0
        rounds = Rounds(dice.choice((0.0, 7.0)), ttl, now)
        while True:
            due = rounds.next(now)
            while used_at := dice.random() < 0.3 and last < 3 * ttl and dice.uniform(now, due):
                last = used = max(last, used_at)
            now, (was, used) = max(due, now), (used, 0.0)
            what = rounds.look(now, was, 0)
            if what == CANARY:
                rounds.sung(now)
            if what == EXPIRED:
                break
        assert ttl <= now - last <= ttl * 1.3 + 0.2


def test_a_model_rests_once_after_each_time_that_it_was_called() -> None:
    rounds = Rounds(0.0, None, 0.0, rest=30.0)
    assert rounds.next(0.0) == 30.0
    assert rounds.look(29.0, used=29.0, inside=0) == "" and rounds.next(29.0) == 59.0
    assert rounds.look(59.0, used=0.0, inside=0) == REST
    assert rounds.look(60.0, used=0.0, inside=1) == "" and rounds.next(60.0) < 61.0  # in its canary
    rounds.sung(60.0)
    assert rounds.look(90.0, used=0.0, inside=0) == "" and rounds.next(90.0) == 120.0
    assert rounds.look(120.0, used=120.0, inside=0) == ""
    assert rounds.look(150.0, used=0.0, inside=0) == REST


def test_a_model_rests_so_long_after_its_last_call_however_late_that_was_noticed() -> None:
    rounds = Rounds(0.0, None, 0.0, rest=60.0)
    assert rounds.look(60.0, used=20.0, inside=0) == "" and rounds.next(60.0) == 80.0
    assert rounds.look(80.0, used=0.0, inside=0) == REST


def test_a_rest_that_is_due_with_a_canary_is_the_canary() -> None:
    rounds = Rounds(60.0, None, 0.0, rest=60.0)
    assert rounds.next(0.0) == 60.0 and rounds.look(60.0, used=0.0, inside=0) == REST
    rounds.sung(61.0)
    assert rounds.look(62.0, used=0.0, inside=0) == "" and rounds.next(62.0) == 121.0
    assert rounds.look(121.0, used=0.0, inside=0) == CANARY


def test_a_rest_is_no_use_of_a_model_that_expires() -> None:
    rounds = Rounds(0.0, 50.0, 0.0, rest=30.0)
    assert rounds.look(30.0, used=0.0, inside=0) == REST
    rounds.sung(31.0)
    assert rounds.next(31.0) < 51.0
    assert rounds.look(50.0, used=0.0, inside=0) == EXPIRED


def test_what_could_not_be_begun_is_asked_for_again() -> None:
    rounds = Rounds(every=10, ttl=None, now=0, rest=5)
    assert rounds.look(6, 0.0, 0) == REST
    rounds.put_off(REST)
    assert rounds.look(7, 0.0, 0) == REST
    rounds.sung(8)
    assert rounds.look(18, 0.0, 0) == CANARY
    rounds.put_off(CANARY)
    assert rounds.look(18.5, 0.0, 0) == CANARY
    mortal = Rounds(every=0, ttl=10, now=0)
    assert mortal.look(10, 0.0, 0) == EXPIRED
    mortal.put_off(EXPIRED)
    assert mortal.look(11, 0.0, 0) == EXPIRED
