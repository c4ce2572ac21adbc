"""Small models for tests are made once, and kept."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from scripts.tiny_models import cache, grammar


def test_a_small_model_is_made_once_whoever_asks_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHAREDMODEL_CACHE", str(tmp_path))
    made: list[str] = []

    def make(path: str) -> None:
        made.append(path)
        Path(path).mkdir()

    monkeypatch.setattr(cache, "_make", make)
    threads = [threading.Thread(target=cache.kept, args=["marian"]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [os.path.join(path.removesuffix(".part"), "marian") for path in made] == [cache.kept("marian")]


def test_sentences_are_drawn_alike_each_time_and_those_held_out_are_in_no_training_set() -> None:
    held_out = grammar.held_out()
    assert grammar.held_out() == held_out and len(set(held_out)) == 200
    assert not set(held_out) & set(grammar.training(3000))
