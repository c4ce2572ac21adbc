"""`sharedmodel.client.FlagEmbedding` against the library in the same process: to 1e-5, and in every mistake."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.m3_models import NEEDED, TEXTS, loads_torch, near, tiny_m3

for needed in NEEDED:
    pytest.importorskip(needed)

from sharedmodel.client import connect, front  # noqa: E402
from sharedmodel.client.FlagEmbedding import BGEM3FlagModel  # noqa: E402
from sharedmodel.client.FlagEmbedding.wanting import wanted  # noqa: E402
from sharedmodel.server.matching import Wanted, find  # noqa: E402
from sharedmodel.server.models.bgem3 import BgeM3Model  # noqa: E402
from sharedmodel.server.settings import ModelSettings  # noqa: E402
from tests import doc_pages  # noqa: E402
from tests.both import found_host, outcome  # noqa: E402
from tests.embedding_models import offline_with_cache  # noqa: E402
from tests.servers import Server  # noqa: E402
from tests.standin_workers import dense_of  # noqa: E402

pytestmark = [
    pytest.mark.xdist_group("FlagEmbedding"),  # the library is imported once
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # the library's own
]

ALL = {"return_dense": True, "return_sparse": True, "return_colbert_vecs": True}


@pytest.fixture(scope="module", autouse=True)
def offline() -> Iterator[None]:
    with offline_with_cache():
        yield


@pytest.fixture(scope="module")
def theirs(offline: None) -> Any:
    import torch
    from FlagEmbedding import BGEM3FlagModel as Real

    torch.set_num_threads(1)  # more only wait for each other, with a model as small as this
    return Real(tiny_m3(), devices="cpu")


@pytest.fixture(scope="module")
def server(offline: None) -> Iterator[Server]:
    with found_host() as server:
        yield server


class Here:
    """In a `Backing`'s place: the adapter itself, with its reference engine, in this process."""

    def __init__(self, wanted: Any) -> None:
        self.wanted = wanted
        self._model = BgeM3Model(engine="torch", threads=1, **wanted.options)

    def call(self, call: Callable[[Any], Any]) -> Any:
        return call(self._model)


@pytest.fixture(scope="module", params=["onnx", "torch"])
def ours(server: Server, request: pytest.FixtureRequest) -> BGEM3FlagModel:
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "torch":
            patch.setattr(front, "Backing", Here)
        return BGEM3FlagModel(tiny_m3(), devices="cpu")


ONNX = pytest.mark.parametrize("ours", ["onnx"], indirect=True)


WANTED: list[dict[str, Any]] = [
    {},
    ALL,
    {**ALL, "max_length": 7, "batch_size": 3},
    {"return_dense": False, "return_sparse": True},
    {"return_dense": False, "return_colbert_vecs": True, "max_length": 2},
    {**ALL, "instruction": "Find", "instruction_format": "{}:\\n{}"},
]


@pytest.mark.parametrize("options", WANTED, ids=str)
def test_texts_are_encoded_as_the_library_does(ours: Any, theirs: Any, options: dict[str, Any]) -> None:
    near(ours.encode(TEXTS, **options), theirs.encode(TEXTS, **options))
    near(ours.encode(TEXTS[3], **options), theirs.encode(TEXTS[3], **options))


def test_pairs_and_tuples_of_texts_are_encoded_as_the_library_does(ours: Any, theirs: Any) -> None:
    for texts in (("a", "b c"), [("a question", "an answer"), ["a", "b"]], ["a", ("b", "c")]):
        near(ours.encode(texts, **ALL), theirs.encode(texts, **ALL))


def test_a_text_of_100000_characters_is_encoded_as_the_library_does(ours: Any, theirs: Any) -> None:
    near(ours.encode("word 词 " * 12500, **ALL), theirs.encode("word 词 " * 12500, **ALL))


def test_pairs_are_scored_as_the_library_does(ours: Any, theirs: Any) -> None:
    pairs = [(one, other) for one in TEXTS[:3] for other in (TEXTS[3], TEXTS[8], TEXTS[6])]
    for options in ({}, {"batch_size": 3}, {"weights_for_different_modes": [0.4, 0.2, 0.4], "max_passage_length": 9}):
        near(ours.compute_score(pairs, **options), theirs.compute_score(pairs, **options))
    for pair in (pairs[1], list(pairs[2])):
        near(ours.compute_score(pair), theirs.compute_score(pair))
    assert ours.compute_score([]) == theirs.compute_score([]) == []


@ONNX
def test_attributes_are_each_objects_own_and_go_with_its_calls(ours: Any, theirs: Any) -> None:
    settings = {
        "query_max_length": 5, "passage_max_length": None, "return_sparse": True, "return_colbert_vecs": True,
        "truncate_dim": 7, "query_instruction_for_retrieval": "query: ",
    }  # fmt: skip
    own = BGEM3FlagModel(tiny_m3(), passage_instruction_for_retrieval="text: ")
    assert own._backing.wanted.name == ours._backing.wanted.name
    before = {name: getattr(theirs, name) for name in settings}
    theirs.kwargs["passage_instruction_for_retrieval"] = "text: "
    try:
        for name, value in settings.items():
            setattr(own, name, value)
            setattr(theirs, name, value)
        near(own.encode_queries(TEXTS), theirs.encode_queries(TEXTS))
        near(own.encode_corpus(TEXTS, max_length=9), theirs.encode_corpus(TEXTS, max_length=9))
        near(own.encode_corpus("one"), theirs.encode_corpus("one"))
        near(own.encode(TEXTS), theirs.encode(TEXTS))
    finally:
        theirs.__dict__.update(before)
        del theirs.kwargs["passage_instruction_for_retrieval"]


def test_lexical_weights_are_named_and_compared_as_the_library_does(ours: Any, theirs: Any) -> None:
    weights = theirs.encode(TEXTS, **ALL)["lexical_weights"]
    for some in (weights, weights[0], [weights[0]], {}, []):
        near(ours.convert_id_to_token(some), theirs.convert_id_to_token(some))
    everything = {str(number): 1.0 for number in range(len(theirs.tokenizer) + 2)}
    assert ours.convert_id_to_token(everything) == theirs.convert_id_to_token(everything)
    for one, other in ((weights[0], weights[4]), (weights[:2], weights[2:])):
        near(ours.compute_lexical_matching_score(one, other), theirs.compute_lexical_matching_score(one, other))
    vectors = theirs.encode(TEXTS[:2], **ALL)["colbert_vecs"]
    assert ours.colbert_score(*vectors).item() == pytest.approx(theirs.colbert_score(*vectors).item())


MISTAKES: dict[str, Callable[[Any], Any]] = {
    "none": lambda model: model.encode(None),
    "no text": lambda model: model.encode([]),
    "a list of none": lambda model: model.encode([None]),
    "a number": lambda model: model.encode([3]),
    "a number after a text": lambda model: model.encode(["a", 3]),
    "bytes": lambda model: model.encode(b"ab"),
    "an array": lambda model: model.encode(np.array(["a"])),
    "three of a pair": lambda model: model.encode([["a", "b", "c"]]),
    "a set": lambda model: model.encode({"a"}),
    "half of a character": lambda model: model.encode(["\ud800"]),
    "no batch": lambda model: model.encode(["a"], batch_size=0),
    "a batch of text": lambda model: model.encode(["a"], batch_size="a"),
    "half a text": lambda model: model.encode(["a"], batch_size=1.5),
    "a length below 0": lambda model: model.encode(["a"], max_length=-1),
    "a length of text": lambda model: model.encode(["a"], max_length="a"),
    "nothing wanted": lambda model: model.encode(["a"], return_dense=False),
    "an unknown argument": lambda model: model.encode(["a"], foo=1),
    "a form of none": lambda model: model.encode(["a"], instruction="q"),
    "no pairs": lambda model: model.compute_score(None),
    "half a pair": lambda model: model.compute_score([("a",)]),
    "pairs of numbers": lambda model: model.compute_score([(1, 2)]),
    "two weights": lambda model: model.compute_score([("a", "b")], weights_for_different_modes=[1, 2]),
    "no token": lambda model: model.convert_id_to_token({"x": 1.0}),
    "a token below 0": lambda model: model.convert_id_to_token({"-3": 1.0}),
    "weights of two kinds": lambda model: model.compute_lexical_matching_score({}, []),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_raises_what_the_library_raises(ours: Any, theirs: Any, case: str) -> None:
    expected = outcome(lambda: MISTAKES[case](theirs))
    assert isinstance(expected, tuple), "it is no mistake"
    assert outcome(lambda: MISTAKES[case](ours)) == expected


def test_a_text_beyond_the_models_positions_says_so_where_the_library_does_not(ours: Any) -> None:
    with pytest.raises(RuntimeError, match="positions for 8192: give a max_length of at most 8192"):
        ours.encode(["a b " * 9000], max_length=10000)


def test_another_rounding_and_pooling_is_another_model(server: Server, tmp_path: Path) -> None:
    from FlagEmbedding import BGEM3FlagModel as Real

    options: dict[str, Any] = {"use_fp16": False, "pooling_method": "mean", "normalize_embeddings": False}
    ours, theirs = BGEM3FlagModel(tiny_m3(), **options), Real(tiny_m3(), devices="cpu", **options)
    near(ours.encode(TEXTS, **ALL), theirs.encode(TEXTS, **ALL))
    near(ours.compute_score([TEXTS[:2]]), theirs.compute_score([TEXTS[:2]]))
    with pytest.raises(ValueError, match=r"there is no colbert_linear\.pt"):
        shutil.copytree(tiny_m3(), tmp_path / "m3", ignore=shutil.ignore_patterns("colbert*"))
        BGEM3FlagModel(tmp_path / "m3")
    assert not loads_torch(server.host_pid)  # though graphs were made for it


CONSTRUCTORS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "a device": ({"devices": "cuda:0"}, NotImplementedError, "the host's choice"),
    "a number of a device": ({"devices": [0]}, NotImplementedError, "the host's choice"),
    "a device of another kind": ({"devices": 3.5}, ValueError, "devices should be a string"),
    "a pooling": ({"pooling_method": "max"}, NotImplementedError, "pooling method max not implemented"),
    "code": ({"trust_remote_code": True}, NotImplementedError, "trust_remote_code"),
    "a size": ({"colbert_dim": 7}, RuntimeError, "size mismatch"),
    "no name": ({"model_name_or_path": None}, TypeError, "not NoneType"),
    "nobody's": ({"model_name_or_path": "nobody/nothing"}, OSError, "not in the hub's cache"),
}


@pytest.mark.parametrize("case", CONSTRUCTORS)
def test_a_wrong_construction_says_what_is_wrong(server: Server, case: str) -> None:
    options, kind, words = CONSTRUCTORS[case]
    with pytest.raises(kind, match=words):
        BGEM3FlagModel(**{"model_name_or_path": tiny_m3(), **options})


def test_a_configured_server_finds_its_model_by_name_or_folder_and_by_rounding() -> None:
    listed = {"m3": ModelSettings(kind="bgem3", options={"name": "BAAI/bge-m3", "path": "/m3", "engine": "torch"})}

    def found(given: str, **options: Any) -> str | None:
        means = wanted(given, **{"half": True, "brain": False, "pooling": "cls", "cache": "/x", **options})
        return find(listed, Wanted(means.kind, means.options, means.files))

    assert found("BAAI/bge-m3") == "m3"
    assert (
        found("BAAI/bge-m3-other") is found("BAAI/bge-m3", half=False) is found("BAAI/bge-m3", pooling="mean") is None
    )
    listed["m3"].options.pop("name")
    listed["m3"].options["path"] = tiny_m3()
    assert found(tiny_m3()) == "m3"
    assert found("/tmp") is None


@ONNX
def test_what_is_not_carried_says_so_by_name(ours: Any) -> None:
    for name in ("model", "tokenizer"):
        with pytest.raises(AttributeError, match=f"BGEM3FlagModel.{name} is in the host"):
            getattr(ours, name)
    with pytest.raises(NotImplementedError, match="encode_multi_process"):
        ours.encode_multi_process(["a"])
    with pytest.raises(NotImplementedError, match="padding"):
        ours.encode(["a"], padding=True)
    with pytest.raises(ImportError, match="FlagReranker"):
        from sharedmodel.client.FlagEmbedding import FlagReranker  # noqa: F401


@ONNX
def test_it_goes_on_in_a_forked_child(ours: Any, theirs: Any) -> None:
    program = """
import os, sys
from sharedmodel.client.FlagEmbedding import BGEM3FlagModel
model = BGEM3FlagModel(sys.argv[1])
before = model.encode("a text")["dense_vecs"]
child = os.fork()
same = (model.encode("a text")["dense_vecs"] == before).all()
if child:
    print(bool(same), os.waitpid(child, 0)[1], "torch" in sys.modules)
else:
    os._exit(0 if same else 1)
"""
    done = subprocess.run([sys.executable, "-c", program, tiny_m3()], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["True", "0", "False"], done.stderr


@ONNX
def test_another_process_has_the_same_copy_and_loads_no_library(server: Server, ours: Any, theirs: Any) -> None:
    assert len(pickle.dumps(ours)) < 2000
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        found, heavy = pool.submit(dense_of, ours, TEXTS[:3]).result()
    near(found, theirs.encode(TEXTS[:3])["dense_vecs"])
    assert not heavy
    with connect() as host:
        assert ours._backing.model._name in host.models()


def test_what_its_page_in_the_documentation_says_works(server: Server, tmp_path: Path) -> None:
    (tmp_path / "bge-m3").symlink_to(tiny_m3())
    found = doc_pages.prints("FlagEmbedding", tmp_path)
    assert found[0] == "(2, 32)" and len(found) == 4
