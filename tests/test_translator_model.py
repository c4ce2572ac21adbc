"""The adapter of translation, without a host: token for token what MarianMTModel generates, by any engine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.embedding_models import offline_with_cache
from tests.translation_models import NEEDED, ODD, cut, folder, one_thread, sentences, translations

for needed in (*NEEDED, "ctranslate2"):
    pytest.importorskip(needed)

from sharedmodel.errors import Cancelled  # noqa: E402
from sharedmodel.server.models.translation import engines, exports  # noqa: E402
from sharedmodel.server.models.translation.rules import Rules  # noqa: E402
from sharedmodel.server.models.translator import TranslatorModel  # noqa: E402
from sharedmodel.server.scheduling.batching import Request  # noqa: E402

GREEDY, BEAMS = {"num_beams": 1}, {"num_beams": 4}


@pytest.fixture(scope="module", autouse=True)
def offline() -> Iterator[None]:
    with offline_with_cache():
        yield


class Library:
    """MarianMTModel and MarianTokenizer, and what they make of texts."""

    def __init__(self) -> None:
        import warnings

        from transformers import MarianMTModel, MarianTokenizer

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it recommends sacremoses, which it does not use here
            self.tokenizer = MarianTokenizer.from_pretrained(folder())
        self.model = MarianMTModel.from_pretrained(folder())
        self._known: dict[str, list[list[int]]] = {}

    def generated(self, texts: list[str], options: dict[str, Any]) -> list[list[int]]:
        key = repr((texts, options))
        if key not in self._known:
            given = self.tokenizer(texts, return_tensors="pt", padding=True)
            self._known[key] = cut(self.model.generate(**given, **options), self.tokenizer.eos_token_id)
        return self._known[key]


@pytest.fixture(scope="module")
def theirs(offline: None) -> Iterator[Library]:
    with one_thread():
        yield Library()


ENGINES = {"onnx": {}, "onnx-int8": {"int8": True}, "ctranslate2": {}, "torch": {}}


@pytest.fixture(scope="module", params=ENGINES)
def model(offline: None, request: pytest.FixtureRequest) -> Iterator[TranslatorModel]:
    made = TranslatorModel(folder(), engine=request.param.partition("-")[0], threads=1, **ENGINES[request.param])
    yield made
    made.close()


@pytest.fixture(scope="module")
def onnx(offline: None) -> Iterator[TranslatorModel]:
    made = TranslatorModel(folder(), threads=1)
    yield made
    made.close()


def generated(model: TranslatorModel, texts: list[str], options: dict[str, Any]) -> list[list[int]]:
    return cut(model.generate(model.tokenize(texts), options), model.card()["eos"])


def test_the_small_model_translates_what_it_has_never_seen(onnx: TranslatorModel) -> None:
    found = onnx.translate(sentences())
    right = sum(ours == theirs for ours, theirs in zip(found, translations(), strict=True))
    assert right >= 190


@pytest.mark.parametrize("options", [GREEDY, BEAMS], ids=str)
def test_tokens_are_those_of_the_library_on_every_held_out_sentence(
    model: TranslatorModel, theirs: Library, options: dict[str, Any]
) -> None:
    texts = sentences(20 if model.card()["engine"] == "torch" else 200)  # it is the library itself
    assert generated(model, texts, options) == theirs.generated(sentences(), options)[: len(texts)]


OPTIONS: list[dict[str, Any]] = [
    {},
    GREEDY,
    BEAMS,
    {"num_beams": 4, "max_length": 9},
    {"num_beams": 1, "max_length": 9},
    {"max_new_tokens": 5},
    {"max_new_tokens": 5, "max_length": 30},
    {"max_length": 4, "max_new_tokens": 9},
    {"max_length": 9, "max_new_tokens": None},
    {"num_beams": 3, "early_stopping": True, "length_penalty": 0.6},
    {"num_beams": 2, "early_stopping": "never", "length_penalty": 1.5, "max_length": 30},
    {"num_beams": 4, "num_return_sequences": 3},
    {"num_beams": 2, "min_length": 20},
    {"num_beams": 3, "max_length": 9, "forced_eos_token_id": None, "bad_words_ids": None},
    {"num_beams": 3, "length_penalty": -1.0, "early_stopping": True, "eos_token_id": [0, 60], "max_length": 40},
    {"num_beams": 2, "forced_eos_token_id": None, "renormalize_logits": False, "bad_words_ids": [[7], [0]]},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_setting_that_is_carried_is_heeded_as_the_library_does(
    onnx: TranslatorModel, theirs: Library, options: dict[str, Any]
) -> None:
    texts = [*ODD, *sentences(10)]
    assert generated(onnx, texts, options) == theirs.generated(texts, options)


def test_texts_become_tokens_and_tokens_texts_as_the_library_does_it(onnx: TranslatorModel, theirs: Library) -> None:
    texts = [*ODD, *sentences(20)]
    assert onnx.tokenize(texts) == theirs.tokenizer(texts)["input_ids"]
    assert onnx.tokenize(translations(9), True) == theirs.tokenizer(text_target=translations(9))["input_ids"]
    rows = [*theirs.generated(texts, BEAMS), [*range(onnx.card()["vocabulary"])]]
    for skip in (True, False):
        assert onnx.detokenize(rows, skip) == theirs.tokenizer.batch_decode(rows, skip_special_tokens=skip)


def test_whoever_shares_the_run_a_text_has_the_same_translation(model: TranslatorModel) -> None:
    texts = [*sentences(3), *ODD[:5]]
    for chosen in (GREEDY, BEAMS):
        alone = [model.translate([text], chosen)[0] for text in texts]
        assert model.translate(texts, chosen) == alone
        parts = [texts[:3], texts[3:4], texts[4:]]
        results = model.batching().run([Request("translate", [part, chosen], {}) for part in parts])
        assert [each for result in results for each in result] == alone


def test_rows_that_exceed_the_budget_or_memory_run_apart_and_give_the_same(
    onnx: TranslatorModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = sentences(12)
    expected = onnx.translate(texts)
    small = TranslatorModel(folder(), tokens_per_run=60)
    assert small.translate(texts) == expected
    small.close()
    engine = onnx._engine
    assert engine is not None
    plain = engine.generate

    def generate(rows: Any, rules: Any) -> Any:
        if len(rows) > 2:
            raise MemoryError
        return plain(rows, rules)

    monkeypatch.setattr(engine, "generate", generate)
    assert onnx.translate(texts) == expected


def test_a_wrong_call_in_a_batch_fails_alone(onnx: TranslatorModel) -> None:
    good, bad = sentences(2)[:1], Request("translate", [["a", 3]], {})
    right, wrong, ids, beyond = onnx.batching().run(
        [
            Request("translate", [good], {}),
            bad,
            Request("generate", [onnx.tokenize(good)], {}),
            Request("generate", [[[5, 100_000]]], {}),
        ]
    )
    assert right == onnx.translate(good) and isinstance(wrong, TypeError)
    assert ids.tolist() == onnx.generate(onnx.tokenize(good)).tolist()
    assert isinstance(beyond, IndexError)


def test_calls_fit_beside_others_with_the_same_settings_only(onnx: TranslatorModel) -> None:
    measure = onnx.batching().measure
    one, other = measure("translate", [["a b"]], {}), measure("generate", [[[1] * 50] * 2], {"options": None})
    assert one is not None and other is not None
    assert one.key == other.key and (one.rows, other.rows) == (1, 2) and one.length < other.length
    beams = measure("translate", [["a"], {"num_beams": 2}], {})
    assert beams is not None and beams.key != one.key
    for args in ([], [[]], ["text"], [None], [["a"], {"nope": 1}], [["a"], {"num_beams": 0}], [[3]]):
        assert measure("translate", args, {}) is None
    assert measure("tokenize", [["a"]], {}) is None


def test_a_text_longer_than_the_model_takes_is_translated_sentence_by_sentence(onnx: TranslatorModel) -> None:
    some = sentences(40)
    (found,) = onnx.translate([" ".join(some)], GREEDY)
    assert found == "".join(onnx.translate(some, GREEDY))
    for text in ("cat " * 25_000, "x" * 5_000, "a\n" * 500):
        (translated,) = onnx.translate([text], {"num_beams": 1, "max_length": 4})
        assert translated


def test_the_code_of_a_language_is_before_each_piece_of_a_long_text(onnx: TranslatorModel) -> None:
    some = sentences(40)
    for code in (">>zh<< ", ">>zh<<"):
        rows = onnx.work("translate", [code + " ".join(some)]).rows
        assert [list(row) for row in rows] == onnx.tokenize([f">>zh<< {each}" for each in some])
    for text in ("cat " * 25_000, "x" * 5_000):  # without sentences; a row never exceeds what the model takes
        rows = onnx.work("translate", [f">>zh<< {text}"]).rows
        (code, *_), *_ = onnx.tokenize([">>zh<<"])
        assert {row[0] for row in rows} == {code} and max(map(len, rows)) <= onnx.longest
    # no code, for the tokenizer, but text and the end of a text
    *_, last = onnx.work("translate", [f">>a</s>b<< {' '.join(some)}"]).rows
    assert [list(last)] == onnx.tokenize(some[-1:])


WRONG: list[tuple[Any, type[Exception]]] = [(None, TypeError), (3, TypeError), ([None], TypeError), ([b"a"], TypeError)]


def test_what_is_no_text_says_so(onnx: TranslatorModel) -> None:
    for texts, kind in WRONG:
        with pytest.raises(kind, match="a text is a string"):
            onnx.translate(texts)
    assert onnx.translate([]) == []
    assert onnx.translate("a") == onnx.translate(["a"])
    assert onnx.generate([]).shape == (0, 0)


def test_a_row_that_gets_longer_than_the_model_has_positions_is_an_error_and_no_dead_host(
    onnx: TranslatorModel, theirs: Library
) -> None:
    endless = {"num_beams": 1, "min_length": 1000, "max_length": 1000}
    with pytest.raises(IndexError):
        theirs.generated(["a"], endless)
    with pytest.raises(IndexError, match="index out of range in self"):
        onnx.translate(["a"], endless)


def test_a_caller_that_gives_up_ends_its_run_between_two_tokens(
    onnx: TranslatorModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = iter([False] * 5 + [True] * 1000)
    monkeypatch.setattr(engines, "cancelled", lambda: next(steps))
    with pytest.raises(Cancelled):
        onnx.translate(sentences(1))
    assert len([*steps]) == 999  # it was asked once more, and no further


def test_calls_that_may_generate_as_much_run_together(theirs: Library) -> None:
    rules = Rules.of_folder(folder())
    told = rules.merged({"max_length": 10})
    assert told == rules.merged({"max_new_tokens": 9, "max_length": 30}) != rules.merged({"max_new_tokens": 10})
    assert hash(told) == hash(rules.merged({"max_new_tokens": 9}))


def test_settings_that_are_wrong_or_not_carried_are_refused_by_name(theirs: Library) -> None:
    rules = Rules.of_folder(folder())
    for options in ({"nope": 1}, {"num_beams": 0}, {"max_length": 1}, {"num_beams": 1, "num_return_sequences": 2}):
        with pytest.raises((ValueError, ZeroDivisionError)):
            theirs.generated(["a"], options)
        with pytest.raises(ValueError):
            rules.merged(options)
    with pytest.raises(ValueError, match="64 at most in this host"):
        rules.merged({"num_beams": 10**9})
    for options in ({"do_sample": True}, {"repetition_penalty": 2.0}, {"bad_words_ids": [[1, 2]]}):
        with pytest.raises(NotImplementedError, match=next(iter(options))):
            rules.merged(options)
    assert rules.merged({"do_sample": False, "top_k": 5, "repetition_penalty": 1.0}) == rules


def test_several_translations_of_a_text_come_as_a_list_the_best_first(onnx: TranslatorModel) -> None:
    some = sentences(3)
    several = onnx.translate(some, {"num_return_sequences": 2})
    assert [best for best, _ in several] == onnx.translate(some)


def test_what_an_engine_makes_is_kept_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = exports.exported(folder(), "onnx")
    weights = os.path.getsize(os.path.join(folder(), "model.safetensors"))
    # the embedding, which both graphs need, is there once
    assert os.path.getsize(os.path.join(made, "weights.bin")) < 1.2 * weights
    shutil.copytree(folder(), tmp_path / "copy")
    monkeypatch.setattr(exports, "run_maker", lambda *_: pytest.fail("made again"))
    assert exports.exported(str(tmp_path / "copy"), "onnx") == made


def test_what_is_no_model_of_translation_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        TranslatorModel(str(tmp_path / "nope"))
    with pytest.raises(ValueError, match="of the type None"):
        TranslatorModel(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "marian", "vocab_size": 3}')
    with pytest.raises(ValueError, match=r"no tokenizer of Marian"):
        TranslatorModel(str(tmp_path))
