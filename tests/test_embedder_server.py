"""Sentence embeddings in real servers: callers share runs, short texts go first, a killed host costs nothing."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.embedding_models import NEEDED, TEXTS, close, for_fastembed, minilm, offline_with_cache

for needed in NEEDED:
    pytest.importorskip(needed)

from sharedmodel.client import connect  # noqa: E402
from sharedmodel.client.fastembed import TextEmbedding  # noqa: E402
from sharedmodel.client.fastembed.common.model_description import ModelSource, PoolingType  # noqa: E402
from sharedmodel.client.host import Host  # noqa: E402
from sharedmodel.client.sentence_transformers import SentenceTransformer  # noqa: E402
from sharedmodel.server.config import load  # noqa: E402
from sharedmodel.server.machine.cores import cores  # noqa: E402
from tests.servers import running_server  # noqa: E402
from tests.standin_workers import vectors_of  # noqa: E402

NAME = "local/minilm"


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("SHAREDMODEL_ADDRESS", raising=False)
    with offline_with_cache():
        yield


def table(**keys: Any) -> str:
    lines = [f"{key} = {value!r}".replace("'", '"') for key, value in keys.items()]
    return "\n".join(["[models.minilm]", 'kind = "embedder"', *lines, ""])


def batches(host: Host) -> dict[str, int]:
    found: dict[str, int] = host.models()["minilm"]["calls"]["batches"]
    return found


def test_texts_of_four_processes_run_as_one_and_each_gets_its_own(runtime: str) -> None:
    texts = [[f"the text of process {number}"] for number in range(4)]
    with running_server(table(path=minilm(), max_batch=4, max_wait=30.0), runtime):
        with ProcessPoolExecutor(4, get_context("spawn")) as pool:  # none runs before the fourth is there
            found = [vectors for vectors, _ in pool.map(vectors_of, [minilm()] * 4, texts)]
        with connect() as host:
            assert batches(host) == {"4": 1}
        together = SentenceTransformer(minilm()).encode([text for (text,) in texts])  # as many rows as may run
    close(np.concatenate(found), together)


def test_a_short_text_does_not_wait_for_a_long_one_to_be_batched_with(runtime: str) -> None:
    with running_server(table(path=minilm(), max_batch=2, max_wait=60.0), runtime):
        model = SentenceTransformer(minilm())
        with ThreadPoolExecutor(3) as pool:
            long = pool.submit(model.encode, ["word " * 1000])
            short = [pool.submit(model.encode, ["a"]) for _ in range(2)]
            close(short[0].result(30), short[1].result(30))
            assert not long.done()
            close(model.encode(["word " * 1000]), long.result(30))


def test_calls_run_together_by_default_and_not_where_the_configuration_says_so(runtime: str) -> None:
    def scheduled(**keys: Any) -> Any:
        file = Path(runtime, "models.toml")
        file.write_text(table(path=minilm(), **keys))
        return load(file).models["minilm"].scheduling

    assert scheduled().max_batch > 1 and scheduled().token_budget and scheduled().lanes == 2
    assert (scheduled(max_wait=0.01).max_wait, scheduled(max_batch=8).max_batch) == (0.01, 8)
    alone = scheduled(max_batch=1)
    lanes = max(1, cores().usable // 2)
    assert (alone.max_batch, alone.token_budget, alone.buckets, alone.lanes) == (1, None, (), lanes)


def test_a_host_that_is_killed_in_a_stream_costs_no_document(runtime: str, tmp_path: Path) -> None:
    folder = for_fastembed(tmp_path / "minilm")
    with running_server(table(path=folder, pooling="mean") + "normalize = true\n", runtime) as server:
        if NAME not in TextEmbedding._custom:
            TextEmbedding.add_custom_model(NAME, PoolingType.MEAN, True, ModelSource(hf=NAME), 384, "model.onnx")
        model = TextEmbedding(NAME, specific_model_path=folder)
        expected = list(model.embed(TEXTS))
        for parallel in (None, 2):
            stream = model.embed(TEXTS, batch_size=3, parallel=parallel)
            found = [next(stream)]
            server.kill_host()
            found += stream
            close(found, expected)
