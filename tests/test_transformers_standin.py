"""`sharedmodel.client.transformers` against the library in the same process, on a small real model of translation."""

from __future__ import annotations

import importlib.metadata
import pickle
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.embedding_models import close, offline_with_cache
from tests.translation_models import NEEDED, ODD, folder, one_thread, sentences, translations

for needed in NEEDED:
    pytest.importorskip(needed)

import sharedmodel.client.transformers as module  # noqa: E402
from sharedmodel.client import connect  # noqa: E402
from sharedmodel.client.transformers import MarianMTModel, MarianTokenizer, pipeline  # noqa: E402
from sharedmodel.errors import NotPermitted  # noqa: E402
from tests import both, doc_pages  # noqa: E402
from tests.both import found_host  # noqa: E402
from tests.servers import Server, running_server  # noqa: E402
from tests.standin_workers import translations_of  # noqa: E402


class Side:
    """A model and its tokenizer: the library's, or the stand-in's."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.classes = model, tokenizer
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the library recommends sacremoses, which it does not use here
            self.model, self.tokenizer = model.from_pretrained(folder()), tokenizer.from_pretrained(folder())


class Pair(both.Pair):
    """Both, called alike."""

    same = staticmethod(close)

    def __init__(self) -> None:
        import transformers

        self.ours = Side(MarianMTModel, MarianTokenizer)
        self.theirs = Side(transformers.MarianMTModel, transformers.MarianTokenizer)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with offline_with_cache(), found_host() as server:
        yield server


@pytest.fixture(scope="module")
def pair(server: Server) -> Iterator[Pair]:
    with one_thread():
        yield Pair()


ENCODINGS: list[dict[str, Any]] = [
    {},
    {"padding": True},
    {"padding": True, "return_tensors": "pt"},
    {"padding": "max_length", "max_length": 30, "return_tensors": "np"},
    {"truncation": True, "max_length": 5},
    {"max_length": 5},
    {"return_tensors": "pt", "padding": "longest", "truncation": True},
    {"add_special_tokens": False},
    {"return_attention_mask": False},
    {"padding": "zz"},
    {"truncation": "zz"},
]


@pytest.mark.parametrize("options", ENCODINGS, ids=str)
def test_tokens_are_those_of_the_library(pair: Pair, options: dict[str, Any]) -> None:
    for texts in (sentences(3), ODD, tuple(sentences(2)), "one text", ""):
        pair.alike(lambda side, texts=texts: dict(side.tokenizer(texts, **options)))
    pair.alike(lambda side: dict(side.tokenizer("the cat", text_target="昨天", **options)))
    pair.alike(lambda side: dict(side.tokenizer(text_target=translations(2), **options)))


def test_what_is_no_text_raises_what_the_library_raises(pair: Pair) -> None:
    for texts in (None, 3, [None], b"a", [], ["a", 3], {"a"}):
        ours, theirs = pair.outcomes(lambda side, texts=texts: side.tokenizer(texts))
        assert isinstance(theirs, tuple) and ours == theirs, texts
    ours, theirs = pair.outcomes(lambda side: side.tokenizer("\ud800x"))
    assert ours[0] == theirs[0] == "RuntimeError"
    ours, theirs = pair.outcomes(lambda side: side.tokenizer(["a", "b c d"], return_tensors="pt"))
    assert ours[0] == theirs[0] == "ValueError"


def test_texts_of_tokens_are_those_of_the_library(pair: Pair) -> None:
    rows = pair.theirs.tokenizer([*ODD, *translations(3)])["input_ids"]
    for skip in (True, False):
        pair.alike(lambda side, skip=skip: side.tokenizer.batch_decode(rows, skip_special_tokens=skip))
    for ids in (rows, rows[0], 5, [], np.array(rows[0])):
        pair.alike(lambda side, ids=ids: side.tokenizer.decode(ids))
    for name in ("pad_token_id", "eos_token_id", "unk_token_id", "vocab_size", "model_max_length", "pad_token"):
        pair.alike(lambda side, name=name: getattr(side.tokenizer, name))
    pair.alike(lambda side: sorted(side.tokenizer.all_special_ids))


GENERATIONS: list[dict[str, Any]] = [
    {},
    {"num_beams": 1},
    {"num_beams": 4, "num_return_sequences": 2},
    {"num_beams": 1, "max_length": 7},
    {"max_new_tokens": 9, "length_penalty": 0.5, "early_stopping": True},
    {"do_sample": False, "use_cache": True, "repetition_penalty": 1.0},
]


@pytest.mark.parametrize("options", GENERATIONS, ids=str)
def test_what_is_generated_is_token_for_token_what_the_library_generates(pair: Pair, options: dict[str, Any]) -> None:
    def generated(side: Side) -> Any:
        given = side.tokenizer([*sentences(12), *ODD], return_tensors="pt", padding=True)
        return side.model.generate(**given, **options)

    pair.alike(generated)


def test_token_ids_are_taken_in_every_form(pair: Pair) -> None:
    import torch

    ids = [[4, 3, 34, 0, 136, 136]]
    expected = pair.theirs.model.generate(torch.tensor(ids))
    for given in (torch.tensor(ids), np.array(ids), ids):
        found = pair.ours.model.generate(given)
        assert isinstance(found, torch.Tensor if isinstance(given, torch.Tensor) else np.ndarray)
        assert found.tolist() == expected.tolist()
    assert pair.ours.model.generate(ids * 50).tolist() == expected.tolist() * 50


def test_a_wrong_call_raises_what_the_library_raises(pair: Pair) -> None:
    import torch

    ids = torch.tensor([[5, 0]])
    for options in (
        {"input_ids": torch.tensor([[5, 500]])},
        {"input_ids": torch.ones((1, 200), dtype=torch.long)},
        {"input_ids": ids, "foo": 1},
        {"input_ids": ids, "max_length": 1},
        {"input_ids": ids, "num_beams": 1, "num_return_sequences": 2},
        {"input_ids": ids, "early_stopping": "sometimes", "num_beams": 2},
    ):
        ours, theirs = pair.outcomes(lambda side, options=options: side.model.generate(**options))
        assert isinstance(theirs, tuple) and ours[0] == theirs[0], (options, ours, theirs)
    for place in ("/no/such/folder", "nobody/nothing"):
        for kind in (0,) if place == "nobody/nothing" else (0, 1):  # its tokenizer says TypeError there
            ours, theirs = pair.outcomes(
                lambda side, kind=kind, place=place: side.classes[kind].from_pretrained(place, local_files_only=True)
            )
            assert ours[0] == theirs[0] == "OSError", (ours, theirs)


def test_settings_are_each_objects_own(pair: Pair) -> None:
    other = pickle.loads(pickle.dumps(pair.ours.model))
    ids = np.array([pair.ours.tokenizer(sentences(1)[0])["input_ids"]])
    usual = pair.ours.model.generate(ids)
    other.generation_config.max_length = 6
    assert other.generate(ids).shape[1] == 6
    assert pair.ours.model.generate(ids).tolist() == usual.tolist()
    assert other.generate(ids, max_length=7).shape[1] == 7
    close(other.generate(ids, generation_config=module.GenerationConfig(num_beams=1, max_length=128)), usual)


def test_the_count_of_new_tokens_wins_over_the_length_whoever_sets_either(pair: Pair) -> None:
    ours, theirs = (pickle.loads(pickle.dumps(each.model)) for each in (pair.ours, pair.theirs))
    both_of = pair.ours.tokenizer(sentences(3), return_tensors="pt", padding=True)
    for settings in ({"max_new_tokens": 3}, {"max_length": 6}, {"max_new_tokens": 3, "max_length": 2}):
        for model in (ours, theirs):
            model.generation_config.update(**settings)
        for options in (
            {},
            {"max_length": 30},
            {"max_new_tokens": 7},
            {"max_new_tokens": 7, "max_length": 30},
            {"max_length": 30, "max_new_tokens": 7},
            {"max_length": 3, "max_new_tokens": 7},
            {"max_new_tokens": None, "max_length": 9},
        ):
            close(ours.generate(**both_of, **options), theirs.generate(**both_of, **options))


class TextsOf:
    """A data set, as torch has them: nothing says where it ends but its length."""

    def __init__(self, texts: list[str]) -> None:
        self._texts = texts

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, number: int) -> str:
        return self._texts[number % len(self)]


def test_the_pipeline_gives_what_programs_for_version_4_expect(server: Server) -> None:
    translate = pipeline("translation_en_to_zh", model=folder(), device=-1)
    texts = sentences(40)
    found = translate(texts)
    assert [each.keys() for each in found] == [{"translation_text"}] * 40
    right = sum(each["translation_text"] == one for each, one in zip(found, translations(40), strict=True))
    assert right >= 38
    assert translate(texts[0]) == [found[0]] and translate([]) == []
    assert list(translate(text for text in texts[:3])) == [[each] for each in found[:3]]
    assert list(translate(TextsOf(texts[:3]))) == [[each] for each in found[:3]]
    several = translate(texts[:2], num_beams=4, num_return_sequences=3)
    assert [len(each) for each in several] == [3, 3] and several[0][0] == found[0]
    assert translate(texts[:1], truncation=True) == found[:1]
    (ids,) = translate(texts[0], return_tensors=True)
    assert translate.tokenizer.decode(ids["translation_token_ids"], skip_special_tokens=True) == translations(1)[0]
    long = " ".join(texts)
    assert translate(long)[0]["translation_text"] == "".join(each["translation_text"] for each in found)
    shared = pipeline("translation", model=MarianMTModel.from_pretrained(folder()), tokenizer=translate.tokenizer)
    assert shared(texts[:2]) == found[:2]


def test_the_library_itself_has_no_such_pipeline_any_more() -> None:
    import transformers

    with pytest.raises(KeyError, match="removed from transformers"):
        transformers.pipeline("translation", model=folder())


def test_a_name_on_the_hub_is_found_in_its_cache(pair: Pair, tmp_path: Path) -> None:
    kept = tmp_path / "models--Helsinki-NLP--opus-mt-en-zh"
    shutil.copytree(folder(), kept / "snapshots" / "abc")
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("abc")
    model = MarianMTModel.from_pretrained("Helsinki-NLP/opus-mt-en-zh", cache_dir=tmp_path, local_files_only=True)
    ids = pair.ours.tokenizer(sentences(2), padding=True)["input_ids"]
    assert model.generate(ids).tolist() == pair.ours.model.generate(ids).tolist()


def test_what_is_not_carried_says_so_by_name(pair: Pair) -> None:
    model, tokenizer = pair.ours.model, pair.ours.tokenizer
    ids = np.array([[5, 0]])
    for call in (
        lambda: model.forward(),
        lambda: model.generate(ids, streamer=print),
        lambda: model.to("cuda"),
        lambda: tokenizer(["a"], text_pair=["b"]),
        lambda: MarianMTModel.from_pretrained(folder(), dtype="float16"),
        lambda: pipeline("translation", model=folder(), device=0),
        lambda: pipeline("translation"),
        lambda: pipeline("translation", model=folder(), src_lang="en"),
        lambda: pipeline("translation", model=folder(), tokenizer="another"),
    ):
        with pytest.raises(NotImplementedError, match="not carried by this stand-in"):
            call()
    with pytest.raises(NotImplementedError, match="do_sample"):
        model.generate(ids, do_sample=True)
    with pytest.raises(AttributeError, match="lm_head is not part of this stand-in"):
        model.lm_head  # noqa: B018
    with pytest.raises(AttributeError, match="BertModel is not part"):
        module.BertModel  # noqa: B018
    with pytest.raises(KeyError, match="Unknown task"):
        pipeline("no-such-task", model=folder())


def test_four_processes_and_many_threads_share_one_copy(server: Server) -> None:
    translate = pipeline("translation", model=folder())
    expected = translate(sentences(5))
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda _: translate(sentences(5)), range(8))) == [expected] * 8
    assert len(pickle.dumps(translate)) < 4000
    with ProcessPoolExecutor(4, get_context("spawn")) as pool:
        for found, heavy in pool.map(translations_of, [folder()] * 4, [sentences(5)] * 4):
            assert found == expected and not heavy
    with connect() as host:
        assert [name for name in host.models() if name.startswith("translator-marian-")] == [
            translate._backing.wanted.name
        ]


def test_it_goes_on_in_a_forked_child(server: Server) -> None:
    code = """
import os, sys
from sharedmodel.client.transformers import pipeline
translate = pipeline("translation", model=sys.argv[1])
before = translate("the cat sees a dog .")
child = os.fork()
if not child:
    os._exit(0 if translate("the cat sees a dog .") == before else 1)
print(os.waitpid(child, 0)[1], translate("the cat sees a dog .") == before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, folder()], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stdout.split() == ["0", "True"], done.stderr


def test_imports_inside_other_programs_give_it_too(server: Server) -> None:
    code = """
import sys
from sharedmodel.client import install
install("transformers")
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, pipeline
from transformers.pipelines import pipeline as same
tokenizer, model = AutoTokenizer.from_pretrained(sys.argv[1]), AutoModelForSeq2SeqLM.from_pretrained(sys.argv[1])
ids = model.generate(**tokenizer(["the cat sees a dog ."], return_tensors="np"))
assert tokenizer.batch_decode(ids, skip_special_tokens=True) == [
    pipeline("translation", model=model, tokenizer=tokenizer)("the cat sees a dog .")[0]["translation_text"]
]
import transformers
print(same is pipeline, transformers.__name__, "torch" in sys.modules, transformers.__version__)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, folder()], capture_output=True, text=True, timeout=300, check=False
    )
    version = importlib.metadata.version("transformers")
    assert done.stdout.split() == ["True", "sharedmodel.client.transformers", "False", version], done.stderr


@pytest.mark.parametrize("engine", ["onnx", "ctranslate2"])
def test_a_configured_server_gives_the_model_it_lists_whatever_runs_it(
    runtime: str, pair: Pair, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHAREDMODEL_ADDRESS", raising=False)
    name = "Helsinki-NLP/opus-mt-en-zh"
    text = f'[models.zh]\nkind = "translator"\nname = "{name}"\npath = "{folder()}"\nengine = "{engine}"\n'
    with running_server(text, runtime):
        found = pipeline("translation", model=name)(sentences(3))
        assert [each["translation_text"] for each in found] == translations(3)
        with pytest.raises(NotPermitted, match='kind = "translator"\nname = "nobody/nothing"') as refused:
            pipeline("translation", model="nobody/nothing")
        assert f'Of this kind it has zh (name = "{name}"). Add these' in str(refused.value)


def test_texts_of_four_processes_run_as_one_and_each_gets_its_own(
    runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHAREDMODEL_ADDRESS", raising=False)
    texts = [[text] for text in sentences(4)]
    with offline_with_cache():
        table = f'[models.zh]\nkind = "translator"\npath = "{folder()}"\nmax_batch = 4\nmax_wait = 30.0\n'
        with running_server(table, runtime):
            with ProcessPoolExecutor(4, get_context("spawn")) as pool:  # none runs before the fourth is there
                found = [each for each, _ in pool.map(translations_of, [folder()] * 4, texts)]
            with connect() as host:
                assert host.models()["zh"]["calls"]["batches"] == {"4": 1}
    assert [each["translation_text"] for (each,) in found] == translations(4)


def test_the_programs_of_its_page_run(runtime: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHAREDMODEL_ADDRESS", raising=False)
    Path(runtime, "opus-mt-en-zh").symlink_to(folder())
    with offline_with_cache(), running_server(doc_pages.blocks("translation", "toml")[0], runtime):
        by_ids, one, several, by_name = doc_pages.prints("translation", Path(runtime))
    cat = "那只猫看见一只狗。"
    assert by_ids == by_name == str([cat]) and one == str([{"translation_text": cat}]) and cat in several


def test_wrong_and_very_long_inputs_end_in_an_answer_or_an_error_and_never_in_a_dead_host(
    server: Server, pair: Pair
) -> None:
    translate, pid = pipeline("translation", model=folder()), server.host_pid
    for text in ("", "x" * 100_000, "cat " * 25_000, "😀" * 300, "\x00\x01\x7f", "\n" * 1000):
        (found,) = translate(text, num_beams=1, max_length=5)
        assert isinstance(found["translation_text"], str)
    for wrong in (None, 3, [None], [3], {"a"}, b"a"):
        with pytest.raises(ValueError):
            translate(wrong)
    assert server.host_pid == pid
