"""`sharedmodel.client.sentence_transformers` against the library in the same process, with real all-MiniLM-L6-v2."""

from __future__ import annotations

import importlib.metadata
import os
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

from tests.embedding_models import NEEDED, SHORT, TEXTS, close, minilm, offline_with_cache

for needed in (*NEEDED, "sentence_transformers"):
    pytest.importorskip(needed)

from sharedmodel.client import connect  # noqa: E402
from sharedmodel.client.sentence_transformers import SentenceTransformer  # noqa: E402
from sharedmodel.errors import NotPermitted  # noqa: E402
from tests import both, doc_pages  # noqa: E402
from tests.both import found_host, outcome  # noqa: E402
from tests.servers import Server, running_server  # noqa: E402
from tests.standin_workers import vectors_of  # noqa: E402


class Pair(both.Pair):
    """The library's object and its stand-in, made with the same arguments."""

    same = staticmethod(close)

    def __init__(self, **options: Any) -> None:
        from sentence_transformers import SentenceTransformer as Real

        self.real = Real
        self.ours, self.theirs = SentenceTransformer(minilm(), **options), Real(minilm(), device="cpu", **options)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with offline_with_cache(), found_host() as server:
        yield server


@pytest.fixture(scope="module")
def pair(server: Server) -> Pair:
    return Pair()


OPTIONS: list[dict[str, Any]] = [
    {},
    {"normalize_embeddings": True, "batch_size": 3},
    {"convert_to_tensor": True},
    {"convert_to_numpy": False},
    {"precision": "binary"},
    {"precision": "ubinary", "convert_to_tensor": True},
    {"precision": None},
    {"prompt": "query: ", "truncate_dim": 100, "normalize_embeddings": True},
    {"prompt_name": "query"},
    {"truncate_dim": -3},
    {"show_progress_bar": True},
    {"device": "cpu", "task": "query"},
    {"batch_size": 1000},
]


@pytest.mark.parametrize("options", [{}, {"batch_size": 3}, {"precision": "binary"}], ids=str)
def test_vectors_of_texts_that_are_cut_are_those_of_the_library(pair: Pair, options: dict[str, Any]) -> None:
    pair.alike(lambda model: model.encode(TEXTS, **options))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_vectors_are_those_of_the_library(pair: Pair, options: dict[str, Any]) -> None:
    for inputs in (SHORT, "one text", tuple(TEXTS[:3]), np.array(TEXTS[:3]), []):
        pair.alike(lambda model, inputs=inputs: model.encode(inputs, **options))


@pytest.mark.parametrize("precision", ["int8", "uint8"])
def test_bytes_differ_by_one_step_at_most(pair: Pair, precision: str) -> None:
    ours, theirs = (each.encode(SHORT, precision=precision) for each in (pair.ours, pair.theirs))
    assert ours.dtype == theirs.dtype and np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1
    pair.alike(lambda model: model.encode("one", precision=precision))


def test_vectors_of_tokens_and_token_ids_are_those_of_the_library(pair: Pair) -> None:
    expected = pair.theirs.encode(TEXTS, output_value="token_embeddings")
    for ours, theirs in zip(pair.ours.encode(TEXTS, output_value="token_embeddings"), expected, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=2e-5, rtol=0)
    for options in ({}, {"prompt": "query: "}):
        pair.alike(lambda model, options=options: dict(model.preprocess(TEXTS, **options)))
    pair.alike(lambda model: dict(model.tokenize(["a b", ("c", "d")])))


WRONG: list[Any] = [
    None, 3, [None], [1], ["a", None], b"ab", [b"ab"], "\ud800x", {"a"}, [float("nan")], [("a", "b", "c")],
    [{"role": "user", "content": "x"}], np.zeros(3), [["a"]], (text for text in "ab"),
]  # fmt: skip
RIGHT: list[Any] = [
    ("a", "b"), [("a", "b"), ("c", "d")], [["a", "b"]], ["a", ("b", "c")], {"text": "a"}, [{"text": "a"}],
    np.array(["a", "b"], object), ["many"] * 150, "", [""], "word " * 20000, "😀" * 300, ["\x00\x01\x7f"],
]  # fmt: skip


def test_every_form_of_texts_gives_what_the_library_gives(pair: Pair) -> None:
    for inputs in RIGHT:
        pair.alike(lambda model, inputs=inputs: model.encode(inputs, batch_size=100))


def test_what_is_no_text_raises_what_the_library_raises(pair: Pair) -> None:
    for inputs in WRONG:
        ours, theirs = (
            outcome(lambda each=each, inputs=inputs: each.encode(inputs)) for each in (pair.ours, pair.theirs)
        )
        assert isinstance(theirs, tuple) and ours == theirs, inputs


MISTAKES: list[dict[str, Any]] = [
    {"batch_size": 0}, {"batch_size": -1}, {"batch_size": "a"}, {"batch_size": 1.5}, {"prompt_name": "zz"},
    {"prompt": 3}, {"foo": 1}, {"sentences": ["b"]}, {"output_value": "zz"}, {"truncate_dim": "a"},
]  # fmt: skip


@pytest.mark.parametrize("options", MISTAKES, ids=str)
def test_a_wrong_call_raises_what_the_library_raises(pair: Pair, options: dict[str, Any]) -> None:
    ours, theirs = (outcome(lambda each=each: each.encode(["a", "b"], **options)) for each in (pair.ours, pair.theirs))
    assert isinstance(theirs, tuple) and ours == theirs
    assert outcome(lambda: pair.ours.encode("a", precision="int4"))[0] == "ValueError"


def test_the_longest_text_may_be_set_on_each_object(pair: Pair) -> None:
    other = pickle.loads(pickle.dumps(pair.ours))
    try:
        for length in (1, 2, 5, 400, 513, 0, -1, None, "a", 3.5, 10**30):
            for each in (pair.ours, pair.theirs):
                each.max_seq_length = length
            pair.alike(lambda model: model.encode(["hello big wide world " * 300, "short"]))
        assert other.max_seq_length == 256
        with pytest.raises(AssertionError):
            pair.ours.max_seq_length = 5
            close(other.encode(TEXTS), pair.ours.encode(TEXTS))
    finally:
        for each in (pair.ours, pair.theirs):
            each.max_seq_length = 256


def test_prompts_by_name_are_the_objects_own(server: Server) -> None:
    own = Pair(prompts={"query": "query: ", "passage": "passage: "}, default_prompt_name="passage", truncate_dim=64)
    assert own.ours.prompts == own.theirs.prompts and own.ours.get_embedding_dimension() == 64
    for method in ("encode", "encode_query", "encode_document"):
        own.alike(lambda model, method=method: getattr(model, method)(TEXTS[:4]))
    own.alike(lambda model: model.encode(TEXTS[:4], prompt_name="query"))
    with own.ours.truncate_embeddings(3):
        assert own.ours.encode("a").shape == (3,)


@pytest.mark.parametrize("name", [None, "cosine", "dot", "euclidean", "manhattan"])
def test_similarities_are_those_of_the_library(pair: Pair, name: str | None) -> None:
    chance = np.random.default_rng(2)
    one, other = chance.standard_normal((2, 5, 8)).astype("f4")
    for each in (pair.ours, pair.theirs):
        each.similarity_fn_name = name
    assert pair.ours.similarity_fn_name == pair.theirs.similarity_fn_name
    for pairs in ((one, other), (one[0], other), (list(one), list(other)), (one.tolist(), other.tolist())):
        pair.alike(lambda model, pairs=pairs: model.similarity(*pairs))
    pair.alike(lambda model: model.similarity_pairwise(one, other))


def test_a_pool_is_accepted_and_makes_no_process(pair: Pair) -> None:
    expected = pair.theirs.encode(TEXTS[:4])
    pool = pair.ours.start_multi_process_pool(["cpu", "cpu"])
    with pytest.warns(DeprecationWarning, match="encode_multi_process"):
        close(pair.ours.encode_multi_process(TEXTS[:4], pool, chunk_size=2), expected)
    close(pair.ours.encode(TEXTS[:4], pool=pool), expected)
    close(pair.ours.encode(TEXTS[:4], device=["cpu", "cpu"]), expected)
    SentenceTransformer.stop_multi_process_pool(pool)


def test_attributes_are_those_of_the_library(pair: Pair) -> None:
    for name in ("max_seq_length", "device", "truncate_dim", "default_prompt_name", "modalities"):
        assert getattr(pair.ours, name) == getattr(pair.theirs, name), name
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        assert pair.ours.get_sentence_embedding_dimension() == pair.theirs.get_sentence_embedding_dimension()
    pair.alike(lambda model: model.foo)


CONSTRUCTORS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "a number": ((3,), {}),
    "a path where nothing is": (("/no/such/folder",), {}),
    "a default prompt that there is not": ((minilm(),), {"prompts": {"a": "b"}, "default_prompt_name": "c"}),
    "an unknown similarity": ((minilm(),), {"similarity_fn_name": "zz"}),
    "an unknown backend": ((minilm(),), {"backend": "zz"}),
    "an unknown argument": ((minilm(),), {"foo": 1}),
    "a folder without a model": ((os.path.dirname(__file__),), {}),
}


@pytest.mark.parametrize("case", CONSTRUCTORS)
def test_a_wrong_construction_raises_what_the_library_raises(pair: Pair, case: str) -> None:
    args, options = CONSTRUCTORS[case]
    expected = outcome(lambda: pair.real(*args, **options))
    assert isinstance(expected, tuple) and outcome(lambda: SentenceTransformer(*args, **options)) == expected


def test_a_model_that_is_not_in_the_cache_is_an_oserror(pair: Pair) -> None:
    for make in (pair.real, SentenceTransformer):
        with pytest.raises(OSError, match="cache"):
            make("nobody/nothing", local_files_only=True)


def test_what_is_not_carried_says_so_by_name(pair: Pair) -> None:
    for call in (
        lambda: pair.ours.fit(),
        lambda: pair.ours.save("x"),
        lambda: pair.ours[0],
        lambda: pair.ours.encode("a", output_value=None),
        lambda: pair.ours.encode("a", device="cuda"),
        lambda: SentenceTransformer(minilm(), model_kwargs={"dtype": "float16"}),
        lambda: SentenceTransformer(modules=[1]),
    ):
        with pytest.raises(NotImplementedError, match="not carried by this stand-in"):
            call()
    with pytest.raises(AttributeError, match="tokenizer is not carried"):
        pair.ours.tokenizer  # noqa: B018


def test_four_processes_and_many_threads_share_one_copy(pair: Pair) -> None:
    expected = pair.theirs.encode(SHORT)
    with ThreadPoolExecutor(4) as threads:
        for found in threads.map(lambda _: pair.ours.encode(SHORT, batch_size=4), range(8)):
            close(found, expected)
    assert len(pickle.dumps(pair.ours)) < 2000
    with ProcessPoolExecutor(4, get_context("spawn")) as pool:
        for found, heavy in pool.map(vectors_of, [minilm()] * 4, [SHORT] * 4):
            close(found, expected)
            assert not heavy
    with connect() as host:
        assert [name for name in host.models() if name.startswith("embedder-model-")] == [
            pair.ours._backing.wanted.name
        ]


def test_it_goes_on_in_a_forked_child(pair: Pair) -> None:
    code = """
import os, sys
from sharedmodel.client.sentence_transformers import SentenceTransformer
model = SentenceTransformer(sys.argv[1])
before = model.encode("one text").tolist()
child = os.fork()
if not child:
    os._exit(0 if model.encode("one text").tolist() == before else 1)
print(os.waitpid(child, 0)[1], model.encode("one text").tolist() == before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, minilm()], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stdout.split() == ["0", "True"], done.stderr


def test_functions_of_util_are_those_of_the_library(pair: Pair) -> None:
    from sentence_transformers import util as theirs

    import sharedmodel.client.sentence_transformers as module

    chance = np.random.default_rng(3)
    one, other = chance.standard_normal((2, 5, 8)).astype("f4")
    for name in module.util.__all__:
        close(getattr(module.util, name)(one, other), getattr(theirs, name)(one, other))
    assert module.__version__ == importlib.metadata.version("sentence-transformers")


def test_a_name_on_the_hub_is_found_in_its_cache(pair: Pair, tmp_path: Path, server: Server) -> None:
    kept = tmp_path / "models--sentence-transformers--all-MiniLM-L6-v2"
    shutil.copytree(minilm(), kept / "snapshots" / "abc")
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("abc")
    model = SentenceTransformer("all-MiniLM-L6-v2", cache_folder=str(tmp_path))
    close(model.encode(SHORT), pair.theirs.encode(SHORT))


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_a_configured_server_gives_the_model_it_lists_whatever_runs_it(
    runtime: str, pair: Pair, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHAREDMODEL_ADDRESS", raising=False)
    name = "sentence-transformers/all-MiniLM-L6-v2"
    text = f'[models.minilm]\nkind = "embedder"\nname = "{name}"\npath = "{minilm()}"\nengine = "{engine}"\n'
    with running_server(text, runtime):
        close(SentenceTransformer("all-MiniLM-L6-v2").encode(SHORT), pair.theirs.encode(SHORT))
        with pytest.raises(NotPermitted, match='kind = "embedder"\nname = "nobody/nothing"'):
            SentenceTransformer("nobody/nothing")


def test_what_its_page_in_the_documentation_says_works(server: Server, tmp_path: Path) -> None:
    os.symlink(minilm(), tmp_path / "minilm")
    sizes, alike = doc_pages.prints("sentence_transformers", tmp_path)
    first, question, weather = map(float, alike.strip("[]").split(","))
    assert sizes == "(3, 384) float32" and first == 1 and question > 0.5 > weather
