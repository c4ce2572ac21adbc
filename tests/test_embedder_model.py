"""The adapter of sentence embeddings, without a host: equal to sentence-transformers by either engine, alone or not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.embedding_models import NEEDED, TEXTS, minilm, offline_with_cache

for needed in (*NEEDED, "sentence_transformers"):
    pytest.importorskip(needed)

from sharedmodel.server.models.embedder import EmbedderModel  # noqa: E402
from sharedmodel.server.models.embedding import export  # noqa: E402
from sharedmodel.server.models.embedding.packing import runs  # noqa: E402
from sharedmodel.server.models.embedding.pooling import MODES, pooled  # noqa: E402
from sharedmodel.server.models.made import VARIABLE, run_maker  # noqa: E402
from sharedmodel.server.scheduling.batching import Request  # noqa: E402

CLOSE = 1e-6
TOKEN_CLOSE = 2e-5  # hidden states are ten times as large as the vectors made of them


@pytest.fixture(scope="module", autouse=True)
def offline() -> Iterator[None]:
    with offline_with_cache():
        yield


@pytest.fixture(scope="module")
def theirs(offline: None) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(minilm(), device="cpu")


@pytest.fixture(scope="module", params=["onnx", "torch"])
def model(offline: None, request: pytest.FixtureRequest) -> Iterator[EmbedderModel]:
    made = EmbedderModel(minilm(), engine=request.param, threads=2)
    yield made
    made.close()


def test_vectors_are_those_of_sentence_transformers(model: EmbedderModel, theirs: Any) -> None:
    found = model.embed([*TEXTS, ("a question", "an answer")])
    expected = theirs.encode([*TEXTS, ("a question", "an answer")])
    assert found.dtype == expected.dtype and found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=CLOSE, rtol=0)


def test_lengths_and_prompts_go_with_each_call(model: EmbedderModel, theirs: Any) -> None:
    usual = theirs.max_seq_length
    try:
        for length in (2, 7, 400):
            theirs.max_seq_length = length
            expected = theirs.encode(TEXTS, batch_size=4)
            np.testing.assert_allclose(model.embed(TEXTS, max_length=length), expected, atol=CLOSE, rtol=0)
        theirs.max_seq_length = usual
        for include in (True, False):
            theirs.set_pooling_include_prompt(include)
            expected = theirs.encode(TEXTS, prompt="query: ", batch_size=4)
            found = model.embed(TEXTS, prompt="query: ", include_prompt=include)
            np.testing.assert_allclose(found, expected, atol=CLOSE, rtol=0)
    finally:
        theirs.max_seq_length = usual
        theirs.set_pooling_include_prompt(True)
    np.testing.assert_allclose(model.embed(TEXTS), theirs.encode(TEXTS, batch_size=4), atol=CLOSE, rtol=0)


def test_vectors_of_tokens_are_those_of_sentence_transformers(model: EmbedderModel, theirs: Any) -> None:
    expected = theirs.encode(TEXTS, output_value="token_embeddings", batch_size=4)
    for ours, other in zip(model.token_embeddings(TEXTS), expected, strict=True):
        np.testing.assert_allclose(ours, other.numpy(), atol=TOKEN_CLOSE, rtol=0)


def test_whoever_shares_the_run_a_text_has_the_same_vector(model: EmbedderModel) -> None:
    alone = np.concatenate([model.embed([text]) for text in TEXTS])
    np.testing.assert_allclose(model.embed(TEXTS), alone, atol=CLOSE, rtol=0)
    parts = [TEXTS[:3], TEXTS[3:4], TEXTS[4:]]
    results = model.batching().run([Request("embed", [part], {}) for part in parts])
    assert [len(result) for result in results] == [3, 1, len(TEXTS) - 4]
    np.testing.assert_allclose(np.concatenate(results), alone, atol=CLOSE, rtol=0)


def test_long_texts_beyond_the_budget_run_alone_and_give_the_same(model: EmbedderModel, theirs: Any) -> None:
    small = EmbedderModel(minilm(), tokens_per_run=40)
    np.testing.assert_allclose(small.embed(TEXTS), model.embed(TEXTS), atol=CLOSE, rtol=0)
    np.testing.assert_allclose(small.embed("one text"), theirs.encode(["one text"]), atol=CLOSE, rtol=0)
    small.close()


def test_rows_that_do_not_fit_into_memory_together_run_in_halves(
    model: EmbedderModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, engine, shrunk = model.embed(TEXTS), model._engine, []
    assert engine is not None
    plain = engine.hidden

    def hidden(side: Any) -> Any:
        if len(side.ids) > 2:
            raise MemoryError
        return plain(side)

    monkeypatch.setattr(engine, "hidden", hidden)
    monkeypatch.setattr(engine, "shrink", lambda: shrunk.append(1))
    np.testing.assert_allclose(model.embed(TEXTS), expected, atol=CLOSE, rtol=0)
    assert shrunk
    monkeypatch.setattr(engine, "hidden", no_memory)
    with pytest.raises(MemoryError):
        model.embed(["a"])


def no_memory(side: Any) -> Any:
    raise MemoryError


def test_a_wrong_call_in_a_batch_fails_alone(model: EmbedderModel) -> None:
    requests = [Request("embed", [["a"]], {}), Request("embed", [[3]], {}), Request("embed", [["b"], 10000], {})]
    long = Request("embed", [["word " * 3000], 10000], {})
    right, wrong, short, too_long = model.batching().run([*requests, long])
    np.testing.assert_allclose(right, model.embed(["a"]), atol=CLOSE, rtol=0)
    np.testing.assert_allclose(short, model.embed(["b"]), atol=CLOSE, rtol=0)
    assert isinstance(wrong, TypeError)
    assert isinstance(too_long, RuntimeError) and "must match the size of tensor b (512)" in str(too_long)


def test_what_is_measured_fits_beside_everything_of_its_kind(model: EmbedderModel) -> None:
    measure = model.batching().measure
    one, other = measure("embed", [["a b"]], {}), measure("embed", [["word " * 3000] * 2], {"max_length": 9})
    assert one is not None and other is not None
    assert one.key == other.key and (one.rows, other.rows) == (1, 2) and one.length < other.length
    for args in ([], [[]], ["text"], [None]):
        assert measure("embed", args, {}) is None
    assert measure("tokenize", [["a"]], {}) is None


def test_runs_are_sorted_by_length_and_keep_to_the_budget() -> None:
    lengths = [3, 50, 4, 50, 200, 1]
    assert list(runs(lengths, 100)) == [[4], [1, 3], [2, 0, 5]]
    assert list(runs([], 100)) == []


@given(st.lists(st.integers(0, 300)), st.integers(1, 1000), st.sampled_from([0.0, 0.75]))
def test_each_row_runs_once_within_the_budget_and_beside_rows_as_long(
    lengths: list[int], budget: int, alike: float
) -> None:
    found = list(runs(lengths, budget, alike))
    assert sorted(row for run in found for row in run) == list(range(len(lengths)))
    for run in found:
        longest = lengths[run[0]]
        assert len(run) == 1 or len(run) * longest <= budget
        assert longest <= 16 or all(alike * longest <= lengths[row] <= longest for row in run)
    assert list(runs([250, 9, 200, 10, 180], 10_000, 0.75)) == [[0, 2], [4], [3, 1]]


@pytest.mark.parametrize("mode", MODES)
def test_every_way_of_pooling_is_that_of_sentence_transformers(mode: Any) -> None:
    import torch
    from sentence_transformers.sentence_transformer.modules import Pooling

    chance = np.random.default_rng(1)
    hidden = chance.standard_normal((4, 6, 8)).astype("f4")
    mask = (np.arange(6) < np.array([6, 3, 1, 5])[:, None]).astype(int)
    for skip in (0, 1):
        theirs = Pooling(8, mode, include_prompt=not skip)
        features = {
            "token_embeddings": torch.from_numpy(hidden[[0, 1, 3]]),
            "attention_mask": torch.from_numpy(mask[[0, 1, 3]]),
        }
        expected = theirs(features | {"prompt_length": skip})["sentence_embedding"].numpy()
        found = pooled(hidden[[0, 1, 3]], mask[[0, 1, 3]], [skip] * 3, (mode,))
        np.testing.assert_allclose(found, expected, atol=CLOSE, rtol=0)


def test_a_graph_is_made_once_and_kept_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = export.exported(minilm())
    copied = tmp_path / "copy"
    shutil.copytree(minilm(), copied)
    monkeypatch.setattr(export, "_make", lambda *_: pytest.fail("made again"))
    assert export.exported(str(copied)) == made


def test_graphs_whose_weights_lie_in_files_named_after_them_do_not_share_these(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime
    import torch

    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(export, "_make", lambda *words: run_maker("tests.spread_export", "no graph", *words))
    ids = np.array([[5, 6, 7]])
    feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    models = [tiny(tmp_path / name) for name in "ab"]
    graphs = [export.exported(str(tmp_path / name)) for name in "ab"]
    for model, graph in zip(models, graphs, strict=True):
        (found,) = onnxruntime.InferenceSession(graph).run(None, feed)
        with torch.inference_mode():
            expected = model(torch.from_numpy(ids)).last_hidden_state.numpy()
        np.testing.assert_allclose(found, expected, atol=TOKEN_CLOSE, rtol=0)


def tiny(folder: Path) -> Any:
    """A model with random weights, and its folder."""
    import transformers
    from safetensors.torch import save_file

    config = transformers.BertConfig(
        vocab_size=60, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=16,
    )  # fmt: skip
    model = transformers.BertModel(config).eval()
    config.save_pretrained(folder)
    save_file(model.state_dict(), folder / "model.safetensors", {"format": "pt"})
    return model


def test_what_is_no_model_or_not_carried_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Unrecognized model"):
        EmbedderModel(str(tmp_path))
    with pytest.raises(FileNotFoundError):
        EmbedderModel(str(tmp_path / "nope"))
    modules = [{"type": "a.Transformer", "path": ""}, {"type": "a.Pooling", "path": "1"}, {"type": "a.Dense"}]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(NotImplementedError, match="the module Dense"):
        EmbedderModel(str(tmp_path))
