"""`sharedmodel.client.fastembed` against fastembed in the same process, with the graph of real all-MiniLM-L6-v2."""

from __future__ import annotations

import itertools
import os
import pickle
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.embedding_models import NEEDED, SHORT, TEXTS, close, for_fastembed, offline_with_cache

for needed in (*NEEDED, "fastembed"):
    pytest.importorskip(needed)

from sharedmodel.client import connect  # noqa: E402
from sharedmodel.client.fastembed import TextEmbedding  # noqa: E402
from sharedmodel.client.fastembed.common.model_description import ModelSource, PoolingType  # noqa: E402
from sharedmodel.errors import NotPermitted  # noqa: E402
from tests import both, doc_pages  # noqa: E402
from tests.both import alike, found_host, outcome  # noqa: E402
from tests.servers import Server, running_server  # noqa: E402
from tests.standin_workers import passages_of  # noqa: E402

NAME = "local/minilm"
BUILT_IN = "sentence-transformers/all-MiniLM-L6-v2"
WAYS = {"mean": (PoolingType.MEAN, False), "cls": (PoolingType.CLS, True), "last": (PoolingType.LAST_TOKEN, True)}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with offline_with_cache(), found_host() as server:
        yield server


@pytest.fixture(scope="module")
def folder(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    return for_fastembed(tmp_path_factory.mktemp("models") / "minilm")


class Pair(both.Pair):
    """fastembed's class and its stand-in, and an object of each."""

    same = staticmethod(close)

    def __init__(self, folder: str, name: str = NAME, **options: Any) -> None:
        from fastembed import TextEmbedding as Real

        self.real = Real
        self.ours = TextEmbedding(name, specific_model_path=folder, **options)
        self.theirs = Real(name, specific_model_path=folder, **options)


def _lists(cls: Any, name: str) -> bool:
    return any(told["model"] == name for told in cls.list_supported_models())


@pytest.fixture(scope="module")
def pair(folder: str) -> Pair:
    from fastembed import TextEmbedding as Real
    from fastembed.common.model_description import ModelSource as RealSource
    from fastembed.common.model_description import PoolingType as RealPooling

    ways = {NAME: (PoolingType.MEAN, True), **{f"local/{way}": how for way, how in WAYS.items()}}
    for name, (pooling, normalize) in ways.items():
        told = {"normalization": normalize, "dim": 384, "model_file": "model.onnx"}
        # They are there already where other tests came between those of this module.
        if not _lists(TextEmbedding, name):
            TextEmbedding.add_custom_model(name, pooling, sources=ModelSource(hf=name), **told)
        if not _lists(Real, name):
            Real.add_custom_model(name, RealPooling(pooling.value), sources=RealSource(hf=name), **told)
    return Pair(folder, threads=1)


def test_vectors_are_those_of_fastembed_by_every_way_in(pair: Pair) -> None:
    pair.alike(lambda model: list(model.embed(TEXTS)))
    pair.alike(lambda model: list(model.embed(TEXTS, batch_size=4)))
    for documents in (SHORT, "one text", tuple(SHORT), (text for text in SHORT), np.array(TEXTS[:3]), []):
        kept = list(documents) if not isinstance(documents, str) else documents
        for size in (256, 4):
            pair.alike(lambda model, kept=kept, size=size: list(model.embed(kept, batch_size=size)))
    for way in ("embed", "query_embed", "passage_embed"):
        pair.alike(lambda model, way=way: list(getattr(model, way)("one text")))
        pair.alike(lambda model, way=way: list(getattr(model, way)([("a", "b c"), ["d", "e"], *TEXTS[:3]])))
    pair.alike(lambda model: list(model.embed(["many"] * 150)))
    pair.alike(lambda model: model.token_count([*TEXTS, ("a", "b")], batch_size=3))
    pair.alike(lambda model: model.embedding_size)


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_pooling_is_fastembeds(pair: Pair, folder: str, way: str) -> None:
    Pair(folder, f"local/{way}").alike(lambda model: list(model.embed(TEXTS, batch_size=4)))


def test_a_model_of_fastembeds_list_in_a_folder_of_ones_own(pair: Pair, folder: str) -> None:
    Pair(folder, BUILT_IN).alike(lambda model: list(model.embed(TEXTS, batch_size=4)))


def test_documents_are_taken_and_vectors_given_a_batch_at_a_time(pair: Pair) -> None:
    taken: list[int] = []
    documents = (taken.append(number) or f"text {number}" for number in itertools.count())
    stream = pair.ours.embed(documents, batch_size=3)
    assert taken == []
    close(next(stream), next(iter(pair.theirs.embed("text 0"))))
    assert taken == [0, 1, 2]
    close([next(stream) for _ in range(3)][-1], next(iter(pair.theirs.embed("text 3"))))
    assert taken == list(range(6))


def test_parallel_keeps_a_few_batches_on_their_way_and_their_order(pair: Pair) -> None:
    expected = list(pair.theirs.embed(SHORT))
    for parallel in (1, 2, 0):
        close(list(pair.ours.embed(SHORT, batch_size=2, parallel=parallel)), expected)
    taken: list[int] = []
    documents = (taken.append(number) or "text" for number in range(100))
    stream = pair.ours.embed(documents, batch_size=2, parallel=2)
    next(stream)
    assert len(taken) <= 8
    stream.close()
    with pytest.raises(ZeroDivisionError):
        list(pair.ours.embed((1 / 0 for _ in range(3)), parallel=2))


WRONG: list[Any] = [
    None, 3, [None], [1], ["a", None], b"ab", [b"ab"], "\ud800x", [("a", "b", "c")], ["a", {}],
]  # fmt: skip


def test_what_is_no_text_raises_what_fastembed_raises(pair: Pair) -> None:
    for documents in WRONG:
        for way in ("embed", "query_embed", "passage_embed"):
            found = [
                outcome(lambda each=each, way=way, given=documents: list(getattr(each, way)(given)))
                for each in (pair.ours, pair.theirs)
            ]
            assert isinstance(found[1], tuple) and found[0] == found[1], documents
        pair.alike(lambda model, documents=documents: model.token_count(documents))


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"batch_size": "a"}, {"batch_size": 1.5}, {"foo": 1}], ids=str)
def test_a_wrong_call_raises_what_fastembed_raises_when_the_first_vector_is_asked_for(
    pair: Pair, options: dict[str, Any]
) -> None:
    pair.ours.embed(["a", "b"], **options)
    pair.alike(lambda model: list(model.embed(["a", "b"], **options)))


CONSTRUCTORS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "an unknown model": (("nope/x",), {}),
    "no name": ((None,), {}),
    "a folder without the graph": ((NAME,), {"specific_model_path": os.path.dirname(__file__)}),
    "a folder that is not there": ((NAME,), {"specific_model_path": "/no/such"}),
    "an unknown provider": ((NAME,), {"providers": ["zz"]}),
    "a provider that is not there": ((NAME,), {"cuda": True}),
}


@pytest.mark.parametrize("case", CONSTRUCTORS)
def test_a_wrong_construction_raises_what_fastembed_raises(pair: Pair, folder: str, case: str) -> None:
    args, options = CONSTRUCTORS[case]
    given = {"specific_model_path": folder, **options}
    expected = outcome(lambda: pair.real(*args, **given))
    found = outcome(lambda: TextEmbedding(*args, **given))
    assert isinstance(expected, tuple) and found[0] == expected[0]
    if case != "a folder that is not there":
        assert found == expected


def test_a_model_that_is_not_in_the_cache_is_a_valueerror(pair: Pair, tmp_path: Path) -> None:
    for make in (pair.real, TextEmbedding):
        with pytest.raises(ValueError, match="Could not load model BAAI"):
            make("BAAI/bge-small-en-v1.5", cache_dir=str(tmp_path), local_files_only=True)


def test_a_lazy_one_loads_with_its_first_document(pair: Pair) -> None:
    lazy = TextEmbedding("nope/x", lazy_load=True)
    with pytest.raises(ValueError, match="not supported"):
        next(iter(lazy.embed("a")))


def test_the_list_of_models_is_fastembeds(pair: Pair) -> None:
    ours, theirs = TextEmbedding.list_supported_models(), pair.real.list_supported_models()
    alike(ours, theirs)
    for name in (NAME, "BAAI/bge-large-en-v1.5", "zz"):
        alike(*(outcome(lambda cls=cls: cls.get_embedding_size(name)) for cls in (TextEmbedding, pair.real)))  # noqa: B023
    with pytest.raises(ValueError, match="already registered"):
        TextEmbedding.add_custom_model(BUILT_IN, PoolingType.MEAN, True, ModelSource(hf="x"), 384)


def test_what_is_not_carried_says_so_by_name(pair: Pair) -> None:
    import sharedmodel.client.fastembed as module

    with pytest.raises(AttributeError, match=r"TextEmbedding\.model is in the host"):
        pair.ours.model  # noqa: B018
    with pytest.raises(AttributeError, match=r"fastembed\.SparseTextEmbedding is not part of this stand-in"):
        module.SparseTextEmbedding  # noqa: B018
    with pytest.raises(NotImplementedError, match="JinaEmbeddingV3"):
        TextEmbedding("jinaai/jina-embeddings-v3")


def test_four_processes_share_one_copy(pair: Pair) -> None:
    expected = list(pair.theirs.embed(SHORT))
    assert len(pickle.dumps(pair.ours)) < 2000
    with ProcessPoolExecutor(4, get_context("spawn")) as pool:
        for found, heavy in pool.map(passages_of, [pair.ours] * 4, [SHORT] * 4):
            close(found, expected)
            assert not heavy
    with connect() as host:
        assert pair.ours._wanted.name in host.models()


def test_a_configured_server_gives_the_model_it_lists(
    runtime: str, pair: Pair, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHAREDMODEL_ADDRESS", raising=False)
    text = f'[models.minilm]\nkind = "embedder"\nfastembed = "{BUILT_IN}"\npath = "{folder}"\n'
    with running_server(text, runtime):
        model = TextEmbedding(BUILT_IN)
        close(list(model.embed(SHORT)), list(Pair(folder, BUILT_IN).theirs.embed(SHORT)))
        with pytest.raises(NotPermitted, match='fastembed = "BAAI'):
            TextEmbedding()


def test_what_its_page_in_the_documentation_says_works(folder: str, tmp_path: Path) -> None:
    os.symlink(folder, tmp_path / "minilm")
    assert doc_pages.prints("fastembed", tmp_path) == ["(384,) float32"] * 2
