"""A small language of sentences, in English and in Chinese: enough to train a translator on, and to check it by.

    time? subject verb object place?      "yesterday the small cat saw two red books in the garden ."
    time? subject place? verb object      "昨天那只小猫在花园里看见了两本红书。"

The place moves, nouns have measure words of their own, plurals and the past change both sides: it can't be
learnt word by word. Sentences are drawn with a seed; those held out are in no training set.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final, NamedTuple

NOUNS: Final = {
    "cat": ("cats", "只", "猫"),
    "dog": ("dogs", "只", "狗"),
    "book": ("books", "本", "书"),
    "letter": ("letters", "封", "信"),
    "teacher": ("teachers", "位", "老师"),
    "doctor": ("doctors", "位", "医生"),
    "student": ("students", "个", "学生"),
    "car": ("cars", "辆", "车"),
    "table": ("tables", "张", "桌子"),
    "bird": ("birds", "只", "鸟"),
}
ADJECTIVES: Final = {"small": "小", "big": "大", "red": "红", "new": "新", "old": "旧", "good": "好"}
NUMBERS: Final = {"two": "两", "three": "三", "five": "五", "ten": "十"}
VERBS: Final = {
    "sees": ("saw", "看见"),
    "buys": ("bought", "买"),
    "draws": ("drew", "画"),
    "finds": ("found", "找到"),
    "likes": ("liked", "喜欢"),
}
PLACES: Final = {
    "in the garden": "在花园里",
    "at home": "在家",
    "at school": "在学校",
    "in the city": "在城市里",
    "on the street": "在街上",
}
TIMES: Final = {
    "yesterday": ("昨天", True),
    "today": ("今天", False),
    "now": ("现在", False),
    "last year": ("去年", True),
}
_PAST: Final = "了"
_HELD_OUT_SEED: Final = 2


class Pair(NamedTuple):
    """A sentence and its translation."""

    english: str
    chinese: str


def held_out(count: int = 200) -> list[Pair]:
    """Sentences that no training set has."""
    return _different(random.Random(_HELD_OUT_SEED), count, frozenset())


def training(count: int, seed: int = 1) -> list[Pair]:
    """Different sentences, none of them held out."""
    return _different(random.Random(seed), count, frozenset(held_out()))


def _different(chance: random.Random, count: int, without: frozenset[Pair]) -> list[Pair]:
    found: dict[Pair, None] = {}
    for pair in _sentences(chance):
        if pair not in without:
            found[pair] = None
        if len(found) == count:
            break
    return list(found)


def _sentences(chance: random.Random) -> Iterator[Pair]:
    while True:
        time, (time_zh, past) = ("", ("", False)) if chance.random() < 0.5 else chance.choice(list(TIMES.items()))
        place, place_zh = ("", "") if chance.random() < 0.4 else chance.choice(list(PLACES.items()))
        present, (was, verb_zh) = chance.choice(list(VERBS.items()))
        subject, subject_zh = _noun(chance, plural=False)
        thing, thing_zh = _noun(chance, plural=chance.random() < 0.4)
        words = [time, subject, was if past else present, thing, place, "."]
        chinese = f"{time_zh}{subject_zh}{place_zh}{verb_zh}{_PAST if past else ''}{thing_zh}。"
        yield Pair(" ".join(word for word in words if word), chinese)


def _noun(chance: random.Random, *, plural: bool) -> tuple[str, str]:
    noun, (many, measure, noun_zh) = chance.choice(list(NOUNS.items()))
    adjective, adjective_zh = ("", "") if chance.random() < 0.5 else chance.choice(list(ADJECTIVES.items()))
    if plural:
        number, number_zh = chance.choice(list(NUMBERS.items()))
        return _joined(number, adjective, many), f"{number_zh}{measure}{adjective_zh}{noun_zh}"
    the, the_zh = chance.choice([("the", "那"), ("this", "这"), ("a", "一")])
    return _joined(the, adjective, noun), f"{the_zh}{measure}{adjective_zh}{noun_zh}"


def _joined(*words: str) -> str:
    return " ".join(word for word in words if word)
