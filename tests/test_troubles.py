"""The troubles that this library is for, each from end to end, with the real library beside it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from tests.embedding_models import NEEDED, close, for_fastembed, minilm, offline_with_cache
from tests.servers import until

for needed in (*NEEDED, "fastembed", "sentence_transformers", "gunicorn"):
    pytest.importorskip(needed)

from sharedmodel.client import connect  # noqa: E402
from sharedmodel.client.fastembed import TextEmbedding  # noqa: E402
from tests.both import found_host  # noqa: E402

SOON = 20.0  # seconds: a host is there again within one or two
DOCUMENTS = [f"He drove to stadium number {number}." for number in range(64)]
NAME = "sentence-transformers/all-MiniLM-L6-v2"

APP = """
import json, os
from urllib.parse import parse_qs
from sharedmodel.client.sentence_transformers import SentenceTransformer  # was: from sentence_transformers import ...

model = SentenceTransformer(os.environ["MINILM"])
model.encode("ready?")


def app(environ, start_response):
    text = parse_qs(environ["QUERY_STRING"])["text"][0]
    body = json.dumps({"pid": os.getpid(), "vector": model.encode(text).tolist()}).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


@pytest.fixture
def job(tmp_path: Path) -> Iterator[tuple[TextEmbedding, Any]]:
    """A model that fastembed would give two workers, and its vectors by fastembed itself."""
    from fastembed import TextEmbedding as Real

    with offline_with_cache(), found_host() as server:
        folder = for_fastembed(tmp_path / "minilm")
        expected = np.array(list(Real(NAME, specific_model_path=folder, threads=1).embed(DOCUMENTS)))
        ours = TextEmbedding(NAME, specific_model_path=folder)
        next(iter(ours.embed("ready?")))
        yield ours, (server, expected)


def test_a_fastembed_job_whose_worker_is_killed_at_any_moment_ends_soon_with_the_right_answer(job: Any) -> None:
    model, (server, expected) = job

    def embedded(killed_after: int) -> Any:
        vectors = []
        for number, vector in enumerate(model.embed(DOCUMENTS, batch_size=8, parallel=2)):
            if number == killed_after:
                server.kill_host()
            vectors.append(vector)
        return np.array(vectors)

    for killed_after in (0, 31, len(DOCUMENTS) - 9):  # in mid-stream, and before the last batch is asked for
        start = time.monotonic()
        close(embedded(killed_after), expected)
        assert time.monotonic() - start < SOON
    with ThreadPoolExecutor(1) as pool:  # while the parent waits, and while the answer is being written
        for delay in (0.0, 0.005, 0.02, 0.05):
            server.until("ready")
            start = time.monotonic()
            timer = threading.Timer(delay, os.kill, (server.host_pid, signal.SIGKILL))
            timer.start()
            done = pool.submit(lambda: np.array(list(model.embed(DOCUMENTS, batch_size=64, parallel=2))))
            close(done.result(SOON), expected)
            timer.join()
            assert time.monotonic() - start < SOON


@pytest.fixture(scope="module")
def by_the_library() -> Any:
    from sentence_transformers import SentenceTransformer

    with offline_with_cache():
        return SentenceTransformer(minilm(), device="cpu").encode("a stadium")


def test_four_gunicorn_workers_that_start_at_once_share_one_load_of_minilm(
    runtime: str, tmp_path: Path, by_the_library: Any
) -> None:
    (tmp_path / "app.py").write_text(APP)
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    with offline_with_cache():
        environment = {**os.environ, "MINILM": minilm(), "SHAREDMODEL_IDLE_EXIT": "1"}
        command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--workers", "4", "app:app"]
        log = tmp_path / "log"
        with log.open("wb") as out:
            web = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=out, stderr=out)
        try:
            until(lambda: _answers(port, web), lambda: log.read_text())
            answers: dict[int, Any] = {}

            def all_four() -> bool:
                answer = _asked(port)
                answers[answer["pid"]] = answer["vector"]
                return len(answers) == 4

            until(all_four, lambda: log.read_text())
            for vector in answers.values():
                close(np.array(vector, "f4"), by_the_library)
            (state,) = connect().models().values()
            assert [each["state"] for each in state["history"]].count("loading") == 1
            heavy = [pid for pid in answers if _has_mapped(pid, "libtorch", "onnxruntime")]
            assert not heavy  # the workers have not even loaded the library
        finally:
            web.terminate()
            web.wait(30)


def _asked(port: int) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/?text=a+stadium", timeout=SOON) as answer:
        return json.load(answer)


def _answers(port: int, web: subprocess.Popen[bytes]) -> bool:
    assert web.poll() is None
    try:
        return bool(_asked(port))
    except OSError:
        return False


def _has_mapped(pid: int, *names: str) -> bool:
    return any(name in mapped.path for mapped in psutil.Process(pid).memory_maps() for name in names)
