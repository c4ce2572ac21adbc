"""The adapter of BGE-M3: a result does not depend on who shared the run, and memory comes back after a long text."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.m3_models import CLOSE, NEEDED, TEXTS, tiny_m3

for needed in NEEDED:
    pytest.importorskip(needed)

from sharedmodel.client import connect  # noqa: E402
from sharedmodel.client.FlagEmbedding import BGEM3FlagModel  # noqa: E402
from sharedmodel.errors import BadArgument, Cancelled  # noqa: E402
from sharedmodel.server.models.bgem3 import BgeM3Model  # noqa: E402
from sharedmodel.server.models.m3 import export, scoring  # noqa: E402
from sharedmodel.server.models.m3.results import Sizes, Wanted, weights_of  # noqa: E402
from sharedmodel.server.scheduling.batching import Request  # noqa: E402
from tests.embedding_models import offline_with_cache  # noqa: E402
from tests.servers import running_server, until  # noqa: E402

MB = 1 << 20
ALL = {"sparse": True, "colbert": True}


@pytest.fixture(scope="module", autouse=True)
def offline() -> Iterator[None]:
    with offline_with_cache():
        yield


@pytest.fixture(scope="module")
def model(offline: None) -> Iterator[BgeM3Model]:
    made = BgeM3Model(tiny_m3(), threads=1)
    yield made
    made.close()


def same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, atol=CLOSE, rtol=0)


def joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def test_whoever_shares_the_run_a_text_has_the_same_result(model: BgeM3Model) -> None:
    alone = joined([model.encode([text], **ALL) for text in TEXTS])
    same(model.encode(TEXTS, **ALL), alone)
    parts = [TEXTS[:3], TEXTS[3:4], TEXTS[4:]]
    same(joined(model.batching().run([Request("encode", [part], ALL) for part in parts])), alone)


def test_calls_that_want_different_things_run_as_one(model: BgeM3Model) -> None:
    wishes: list[dict[str, Any]] = [{}, {"dense": False, **ALL}, {"truncate_dim": 3, "normalize": False}, ALL]
    results = model.batching().run([Request("encode", [TEXTS], wish) for wish in wishes])
    for found, wish in zip(results, wishes, strict=True):
        same(found, model.encode(TEXTS, **wish))
    assert results[0].keys() == {"dense"} and results[2]["dense"].shape == (len(TEXTS), 3)


def test_a_wrong_call_in_a_batch_fails_alone(model: BgeM3Model) -> None:
    right, wrong, long = model.batching().run(
        [
            Request("encode", [["a"]], {}),
            Request("encode", [[3]], {}),
            Request("encode", [["a b " * 9000], 10000], {}),
        ]
    )
    same(right, model.encode(["a"]))
    assert isinstance(wrong, TypeError)
    assert isinstance(long, RuntimeError) and "positions for 8192" in str(long)


def test_long_texts_beyond_the_budget_run_alone_and_give_the_same(model: BgeM3Model) -> None:
    small = BgeM3Model(tiny_m3(), tokens_per_run=40, threads=1)
    same(small.encode(TEXTS, **ALL), model.encode(TEXTS, **ALL))
    same(small.encode("one text"), model.encode(["one text"]))
    small.close()
    with pytest.raises(RuntimeError, match="closed"):
        small.encode(["a"])


def test_rows_that_do_not_fit_into_memory_together_run_in_halves(
    model: BgeM3Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, engine = model.encode(TEXTS, **ALL), model._engine
    assert engine is not None
    plain = engine.outputs

    def outputs(side: Any, wanted: Any) -> Any:
        if len(side.ids) > 2:
            raise MemoryError
        return plain(side, wanted)

    monkeypatch.setattr(engine, "outputs", outputs)
    same(model.encode(TEXTS, **ALL), expected)
    monkeypatch.setattr(engine, "outputs", no_memory)
    with pytest.raises(MemoryError):
        model.encode(["a"])


def no_memory(side: Any, wanted: Any) -> Any:
    raise MemoryError


def test_a_call_that_was_given_up_ends_between_runs(model: BgeM3Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sharedmodel.reply.cancelled", lambda: True)
    with pytest.raises(Cancelled):
        model.encode(["a"])


def test_what_is_measured_fits_beside_everything_of_its_kind(model: BgeM3Model) -> None:
    measure = model.batching().measure
    one, other = measure("encode", [["a b"]], {}), measure("encode", [["word " * 3000] * 2, 9], ALL)
    assert one is not None and other is not None
    assert one.key == other.key and (one.rows, other.rows) == (1, 2) and one.length < other.length == 9
    for args in ([], [[]], ["text"], [None]):
        assert measure("encode", args, {}) is None
    assert measure("score", [[["a", "b"]]], {}) is None


def test_scores_of_long_texts_are_made_a_piece_at_a_time(model: BgeM3Model, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [(TEXTS[4], TEXTS[0]), (TEXTS[0], TEXTS[4]), ("", "")]
    expected = model.score(pairs)
    monkeypatch.setattr(scoring, "_AT_ONCE", 50)
    np.testing.assert_allclose(model.score(pairs), expected, atol=CLOSE, rtol=0)
    assert model.score([]).shape == (0, 5)


def test_a_token_weighs_what_it_weighs_at_most_and_comes_where_it_came_first() -> None:
    ids, weights = np.array([0, 7, 5, 7, 9, 5, 2]), np.array([9, 0.5, 0.2, 0.7, 0, 0.1, 9], "f4")
    found, largest = weights_of(ids, weights, np.array([0, 2]))
    assert found.tolist() == [7, 5] and largest.tolist() == pytest.approx([0.7, 0.2])
    assert (found.dtype, largest.dtype) == (np.int32, np.float32)


def test_only_what_is_wanted_is_asked_of_the_graph() -> None:
    assert Wanted(dense=False, sparse=True).outputs() == {"sparse"}
    assert Sizes(3, 4).colbert == 4


def test_a_graph_is_made_once_and_kept_by_content(
    model: BgeM3Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_m3(), tmp_path / "copy")
    monkeypatch.setattr(export, "_make", lambda *_: pytest.fail("made again"))
    made = export.exported(tiny_m3(), "float16", "cls")
    assert export.exported(str(tmp_path / "copy"), "float16", "cls") == made


def test_wrong_options_say_what_is_wrong(model: BgeM3Model, tmp_path: Path) -> None:
    with pytest.raises(BadArgument, match="`path` or `name`"):
        BgeM3Model()
    with pytest.raises(BadArgument, match="tokens_per_run"):
        BgeM3Model(tiny_m3(), tokens_per_run=0)
    with pytest.raises(ValueError, match="NoProvider is not available"):
        BgeM3Model(tiny_m3(), providers=["NoProvider"])
    with pytest.raises(BadArgument, match="nothing is wanted"):
        model.encode(["a"], dense=False)
    with pytest.raises(ValueError, match=r"tokenizer\.json"):
        BgeM3Model(str(tmp_path))


def test_after_a_text_of_8192_tokens_among_short_ones_memory_is_where_it_was(runtime: str) -> None:
    folder = tiny_m3()
    short = [f"the text number {number}" for number in range(6)]
    long = "Tensors stay where they are; only references move. " * 900
    table = f'[models.m3]\nkind = "bgem3"\npath = "{folder}"\nthreads = 1\n'
    with running_server(table, runtime) as server:
        model = BGEM3FlagModel(folder, return_sparse=True, return_colbert_vecs=True, passage_max_length=8192)

        def after_short() -> int:
            model.encode(short)
            return taken(server.host_pid, "VmRSS")

        before = [after_short() for _ in range(12)][-1]
        expected = model.encode(short)
        found = model.encode([*short[:3], long, *short[3:]])
        assert found["colbert_vecs"][3].shape == (8191, 32)
        np.testing.assert_allclose(np.delete(found["dense_vecs"], 3, 0), expected["dense_vecs"], atol=CLOSE, rtol=0)
        del found
        assert taken(server.host_pid, "VmHWM") > before + 150 * MB
        until(lambda: after_short() < before + 30 * MB, lambda: f"{before} before, {after_short()} after")


def taken(pid: int, key: str) -> int:
    """Of a process: what it has in memory, or had at most."""
    lines = Path("/proc", str(pid), "status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(key))


def test_texts_of_different_callers_run_as_one(runtime: str) -> None:
    table = (
        f'[models.m3]\nkind = "bgem3"\npath = "{tiny_m3()}"\nthreads = 1\nmax_batch = 3\nmax_wait = 30.0\nlanes = 1\n'
    )
    with running_server(table, runtime), connect() as host, ThreadPoolExecutor(3) as callers:
        model = BGEM3FlagModel(tiny_m3())
        found = list(callers.map(lambda text: model.encode(text, return_sparse=True), TEXTS[:3]))  # none runs alone
        until(lambda: host.models()["m3"]["calls"]["batches"] == {"3": 1}, lambda: str(host.models()["m3"]))
        together = model.encode(TEXTS[:3], return_sparse=True)
    for number, each in enumerate(found):
        np.testing.assert_allclose(each["dense_vecs"], together["dense_vecs"][number], atol=CLOSE, rtol=0)
        assert list(each["lexical_weights"]) == list(together["lexical_weights"][number])
