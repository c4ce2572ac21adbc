"""`pipeline()` of `sharedmodel.client.transformers` against the library's own, on small models drawn at random."""

from __future__ import annotations

import base64
import pickle
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.embedding_models import offline_with_cache
from tests.translation_models import one_thread

for needed in ("torch", "transformers", "tokenizers", "PIL"):
    pytest.importorskip(needed)

from scripts.tiny_models import heads  # noqa: E402
from sharedmodel.client import connect  # noqa: E402
from sharedmodel.client.transformers import pipeline  # noqa: E402
from sharedmodel.errors import BadArgument  # noqa: E402
from sharedmodel.server.matching import Wanted, find  # noqa: E402
from sharedmodel.server.settings import ModelSettings  # noqa: E402
from tests import both, doc_pages  # noqa: E402
from tests.both import found_host  # noqa: E402
from tests.servers import Server  # noqa: E402
from tests.standin_workers import piped  # noqa: E402

TEXTS = ["the cat sees a dog .", "two red birds", "yesterday this teacher bought ten big cars at home ."]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with offline_with_cache(), one_thread(), found_host() as server:
        yield server


class Pair(both.Pair):
    """The library's pipeline and its stand-in."""

    def __init__(self, task: str, **options: Any) -> None:
        import transformers

        self.ours = pipeline(task, model=heads.folder(task), **options)
        self.theirs = transformers.pipeline(task, model=heads.folder(task), device="cpu", **options)

    def alike(self, call: Callable[[Any], Any]) -> None:
        """The same values, or a mistake of the same kind."""
        ours, theirs = self.outcomes(call)
        if isinstance(theirs, tuple):
            assert ours == theirs or ours[0] == theirs[0], (ours, theirs)
        else:
            nearly(ours, theirs)


def nearly(ours: Any, theirs: Any) -> None:
    """Equal, numbers to 1e-6: other threads may add in another order."""
    assert type(ours) is type(theirs), (ours, theirs)
    if isinstance(theirs, list):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            nearly(one, other)
    elif isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key in theirs:
            nearly(ours[key], theirs[key])
    elif isinstance(theirs, float | np.floating):
        assert ours == pytest.approx(theirs, abs=1e-5)
    elif hasattr(theirs, "shape"):
        np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), atol=1e-5, rtol=0)
    else:
        assert ours == theirs


@pytest.fixture(scope="module")
def pairs(server: Server) -> dict[str, Pair]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {task: Pair(task) for task in heads.TASKS if task != "question-answering"}


FORMS: list[Any] = [TEXTS[0], TEXTS, TEXTS * 9, [], None, 3, [3]]


def test_texts_are_classified_as_the_library_does_it(pairs: dict[str, Pair]) -> None:
    pair = pairs["text-classification"]
    for inputs in (*FORMS, {"text": "a cat", "text_pair": "a dog"}, [["a", "b"]], "😀 \x00"):
        pair.alike(lambda each, inputs=inputs: each(inputs))
    for options in ({"top_k": 2}, {"top_k": None}, {"function_to_apply": "sigmoid"}, {"batch_size": 2}):
        pair.alike(lambda each, options=options: each(TEXTS[0], **options))
        pair.alike(lambda each, options=options: each(TEXTS, **options))
    pair.alike(lambda each: list(each(text for text in TEXTS)))
    pair.alike(lambda each: each("word " * 300))
    set_before = Pair("text-classification", top_k=2)
    for inputs in (TEXTS[0], TEXTS):
        set_before.alike(lambda each, inputs=inputs: each(inputs))


def test_tokens_are_classified_as_the_library_does_it(pairs: dict[str, Pair]) -> None:
    pair = pairs["token-classification"]
    for inputs in FORMS:
        pair.alike(lambda each, inputs=inputs: each(inputs))
    for options in (
        {"aggregation_strategy": "simple"},
        {"aggregation_strategy": "max"},
        {"ignore_labels": ["B-LOC"]},
        {"aggregation_strategy": "zz"},
        {"top_k": 2},
    ):
        pair.alike(lambda each, options=options: each(TEXTS[0], **options))
    pair.alike(lambda each: each(["the", "cat"], is_split_into_words=True))
    pair.alike(lambda each: list(each(text for text in TEXTS)))


def test_features_are_those_of_the_library(pairs: dict[str, Pair]) -> None:
    pair = pairs["feature-extraction"]
    for inputs in FORMS:
        pair.alike(lambda each, inputs=inputs: each(inputs))
    for options in ({"return_tensors": True}, {"truncation": True}, {"tokenize_kwargs": {"max_length": 4}}):
        pair.alike(lambda each, options=options: each(TEXTS[0], **options))
        pair.alike(lambda each, options=options: each(TEXTS, **options))


def bomb(width: int, height: int) -> bytes:
    """A PNG that says it is so large, and holds nothing."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


def test_pictures_are_classified_as_the_library_does_it(pairs: dict[str, Pair], tmp_path: Path) -> None:
    from PIL import Image

    pair = pairs["image-classification"]
    pixels = np.random.default_rng(1).integers(0, 255, (48, 40, 3), np.uint8)
    picture = Image.fromarray(pixels)
    path, text, large = (str(tmp_path / name) for name in ("a.png", "text.png", "large.png"))
    picture.save(path)
    Path(text).write_text("no picture")
    Path(large).write_bytes(bomb(20_000, 20_000))
    plain = base64.b64encode(Path(path).read_bytes()).decode()
    grey = Image.fromarray(pixels[..., 0])
    for inputs in (
        picture,
        grey,
        path,
        plain,
        f"data:image/png;base64,{plain}",
        [picture, picture],
        [path] * 3,
        pixels,
    ):
        pair.alike(lambda each, inputs=inputs: each(inputs))
    for inputs in (None, 3, "/no/such.png", text, large, [], [text], np.zeros((0, 0, 3), np.uint8), ""):
        pair.alike(lambda each, inputs=inputs: each(inputs))
    for options in ({"top_k": 2}, {"function_to_apply": "sigmoid"}, {"batch_size": 2}, {"foo": 1}):
        pair.alike(lambda each, options=options: each([picture, picture], **options))
    with pytest.raises(NotImplementedError, match="by its URL is not carried"):
        pair.ours("https://example.org/a.png")


def test_a_picture_that_is_named_is_opened_by_the_client_and_never_by_the_host(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    Image.new("RGB", (40, 40), "red").save(tmp_path / "a.png")
    pipeline("image-classification", model=heads.folder("image-classification"))
    with connect() as host:
        (name,) = (name for name in host.models() if name.startswith("pipeline-image_classification"))
        model = host.model(name)
        monkeypatch.chdir(tmp_path)  # which is not the host's folder
        given = (tmp_path / "a.png").read_bytes()
        expected = model.call(given)
        assert model.call("a.png") == model.call(Path("a.png")) == model.call(inputs="a.png") == expected
        assert model.call(["a.png", given]) == [expected] * 2
        for missing in ("/no/such.png", "https://example.org/a.png"):
            with pytest.raises(FileNotFoundError, match=missing):
                model.call(missing)
        # A client of another make sends what it likes.
        monkeypatch.setattr(model, "_info", {**model._info, "files": {}})
        for args in (
            [str(tmp_path / "a.png")],
            [[given, str(tmp_path / "a.png")]],
            ["https://example.org/a.png"],
            [given, {"images": str(tmp_path / "a.png")}],
        ):
            with pytest.raises(BadArgument):
                model.call(*args)


def test_a_text_is_never_taken_for_a_file(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cat").write_text("dog")
    with connect() as host:
        pipeline("text-classification", model=heads.folder("text-classification"))
        (name,) = (name for name in host.models() if name.startswith("pipeline-text_classification"))
        assert host.model(name).call("cat") != host.model(name).call("dog")


def test_no_caller_starts_processes_in_the_host(server: Server) -> None:
    pipeline("text-classification", model=heads.folder("text-classification"))
    with connect() as host:
        (name,) = (name for name in host.models() if name.startswith("pipeline-text_classification"))
        model = host.model(name)
        assert model.call(TEXTS, {"num_workers": 0}) == model.call(TEXTS)
        with pytest.raises(BadArgument, match="num_workers"):
            model.call(TEXTS, {"num_workers": 1})


def test_questions_are_answered_out_of_their_context(server: Server) -> None:
    import torch
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer

    folder = heads.folder("question-answering")
    model, tokenizer = AutoModelForQuestionAnswering.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    answer = pipeline("question-answering", model=folder)
    for question, context in (("which cat", TEXTS[2]), ("the dog sees", TEXTS[0]), ("birds", " ".join(TEXTS))):
        given = tokenizer(question, context, return_tensors="pt", return_offsets_mapping=True)
        offsets, kinds = given.pop("offset_mapping")[0].tolist(), given.sequence_ids(0)
        with torch.inference_mode():
            out = model(**given)
        inside = [place for place, kind in enumerate(kinds) if kind == 1]
        # all spans of at most 15 tokens, one by one
        best = max(
            ((first, last) for first in inside for last in inside if first <= last < first + 15),
            key=lambda span: float(out.start_logits[0, span[0]] + out.end_logits[0, span[1]]),
        )
        found = answer(question=question, context=context, align_to_words=False)
        assert (found["start"], found["end"]) == (offsets[best[0]][0], offsets[best[1]][1])
        assert found["answer"] == context[found["start"] : found["end"]] and 0 < found["score"] <= 1
        whole = answer({"question": question, "context": context})
        assert f" {whole['answer']} " in f" {context} "
    pairs = [{"question": "birds", "context": text} for text in TEXTS]
    assert answer(pairs) == [answer(each) for each in pairs]
    assert len(answer(pairs[0], top_k=3)) == 3
    long = answer(question="birds", context=" ".join(TEXTS * 30), handle_impossible_answer=True)
    assert long.keys() == {"score", "start", "end", "answer"}
    for wrong, kind in (
        ({"question": "a"}, KeyError),
        ({"question": "", "context": "b"}, ValueError),
        ("a", ValueError),
    ):
        with pytest.raises(kind):
            answer(wrong)
    with pytest.raises(TypeError):
        answer(pairs[0], foo=1)


def test_what_is_not_carried_says_so_by_name(server: Server) -> None:
    folder = heads.folder("text-classification")
    for call in (
        lambda: pipeline("ner", model=folder, device="cuda"),
        lambda: pipeline("ner", model=folder, tokenizer="another"),
        lambda: pipeline("ner", model=folder, dtype="float16"),
        lambda: pipeline("text-classification", model=folder)("a", function_to_apply=print),
    ):
        with pytest.raises(NotImplementedError, match="not carried by this stand-in"):
            call()
    for place in ("/no/such/folder", "nobody/nothing"):
        with pytest.raises(OSError):
            pipeline("text-classification", model=place, local_files_only=True)
    with pytest.raises(KeyError, match="Unknown task"):
        pipeline("text-generation", model=folder)
    with pytest.raises(AttributeError, match="tokenizer is not part"):
        pipeline("text-classification", model=folder).tokenizer  # noqa: B018


def test_processes_and_threads_share_one_copy(server: Server) -> None:
    folder = heads.folder("text-classification")
    classify = pipeline("text-classification", model=folder)
    expected = classify(TEXTS)
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda _: classify(TEXTS), range(8))) == [expected] * 8
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        found = list(pool.map(piped, [classify] * 2, ["text-classification"] * 2, [folder] * 2, [TEXTS] * 2))
    assert found == [(expected, expected, [])] * 2 and len(pickle.dumps(classify)) < 3000
    with connect() as host:
        assert sum(name.startswith("pipeline-text_classification") for name in host.models()) == 1


def test_the_programs_of_its_page_run(server: Server, tmp_path: Path) -> None:
    (tmp_path / "sst2").symlink_to(heads.folder("text-classification"))
    one, several = doc_pages.prints("transformers", tmp_path)
    assert one.startswith("[{'label': '") and several.count("'score'") == 4


def test_a_configured_pipeline_is_found_by_its_task_and_its_name() -> None:
    named = {"task": "text-classification", "name": "some/body"}
    listed = {"mood": ModelSettings(kind="pipeline", options={**named, "path": "/there", "threads": 2})}
    assert find(listed, Wanted("pipeline", named, {})) == "mood"
    for other in ({**named, "task": "token-classification"}, {**named, "name": "any/body"}):
        assert find(listed, Wanted("pipeline", other, {})) is None
