"""Flask, Django and Celery with their real servers, before one model server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.embedding_models import NEEDED, minilm, offline_with_cache

for needed in (*NEEDED, "fastapi", "flask", "django", "celery", "gunicorn", "PIL"):
    pytest.importorskip(needed)

from tests.pictures import picture  # noqa: E402
from tests.servers import Server, running_server, until  # noqa: E402
from tests.web import EXAMPLES, Web, documented, gunicorn, more, under_load  # noqa: E402

MODELS = f"""
[models.ocr]
factory = "zoo:Reader"
idempotent = ["ocr"]

[models.capitals]
factory = "zoo:Translator"
idempotent = ["translate"]

[models.minilm]
kind = "embedder"
path = "{minilm()}"
"""
MOST = 100_000


@pytest.fixture
def server(runtime: str) -> Iterator[Server]:
    with offline_with_cache(), running_server(MODELS, runtime) as server:
        yield server


def _survives_kills_and_reloads(server: Server, web: Web, path: str, value: object) -> None:
    expected = web.post(path, value)
    assert expected.status == 200, expected

    def same() -> None:
        told = web.post(path, value)
        assert (told.status, told.body) == (200, expected.body), told

    with under_load([same, same], MOST) as counts:
        server.kill_host()
        more(counts, 2)
        web.reload()
        more(counts, 2)


def test_flask_under_gunicorns_own_workers(server: Server) -> None:
    with gunicorn(server.place.directory, "-w", "2", "flask_app:app") as web:
        assert web.upload("/ocr", picture()).body == {"lines": [{"text": "60 by 40", "score": 0.5}]}
        told = web.upload("/ocr", b"no picture")
        assert told.status == 422 and told.body["error"] == "bad-input"
        assert web.post("/embed", {"texts": "x"}).status == 422
        assert web.post("/embed", [1]).status == 500  # its own mistake, not the caller's
        assert web.get("/nothing").status == 404
        _survives_kills_and_reloads(server, web, "/embed", {"texts": ["a text"]})


def test_django_preloaded_under_gunicorns_own_workers(server: Server) -> None:
    with gunicorn(server.place.directory, "--preload", "-w", "2", "django_app:application") as web:
        assert web.ask("POST", "/ocr", picture()).body == {"lines": ["60 by 40"]}
        told = web.ask("POST", "/ocr", picture()[:40])
        assert told.status == 422 and told.body["error"] == "bad-input"
        assert web.post("/alike", {"one": 1}).status == 422
        alike = [web.post("/alike", {"one": "tea", "other": other}).body["score"] for other in ("a cup of tea", "war")]
        assert alike[0] > 0.5 > alike[1]
        _survives_kills_and_reloads(server, web, "/alike", {"one": "a", "other": "b"})


def test_the_fastapi_example_translates_what_it_read(server: Server) -> None:
    words = ("--chdir", "fastapi_app", "-c", "fastapi_app/gunicorn.conf.py", "-w", "1", "app:app")
    with gunicorn(server.place.directory, *words, TRANSLATOR="capitals") as web:
        (line,) = web.upload("/ocr?translate=true", picture()).body["lines"]
        assert line["text"] == "60 by 40" and line["translation"] == "60 BY 40"
        assert web.get("/health").body["translates"] is True


def test_the_applications_of_the_documents_answer_as_they_stand(server: Server, runtime: str) -> None:
    for number, text in enumerate(documented("web", "python")):
        Path(runtime, f"documented{number}.py").write_text(text)
        worker = ("-k", "sharedmodel.client.web.worker.Worker") if "FastAPI" in text else ()
        with gunicorn(runtime, "--chdir", runtime, "-w", "1", *worker, f"documented{number}:app") as web:
            assert web.upload("/ocr", picture()).body == ["60 by 40"]
            assert web.upload("/ocr", b"no picture").status == 422


def test_both_answer_503_while_there_is_no_server(runtime: str) -> None:
    for app in ("flask_app:app", "django_app:application"):
        with gunicorn(runtime, "-w", "1", app) as web:
            told = web.post("/embed" if "flask" in app else "/alike", {"texts": ["a"], "one": "a", "other": "b"})
            assert told.status == 503 and told.headers["retry-after"] == "1"
            assert told.body["error"] == "host-unavailable"


def test_celery_reads_every_page_though_the_host_and_a_worker_are_killed(server: Server, tmp_path: Path) -> None:
    pages = tmp_path / "pages"
    pages.mkdir()
    for number in range(6):
        (pages / f"{number:02}.png").write_bytes(picture(60 + number))
    environment = {**os.environ, "CELERY_FOLDER": str(tmp_path / "broker"), "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", "celery", "-A", "celery_app", "worker", "--concurrency", "2", "--loglevel", "info"]
    log = tmp_path / "celery.log"
    with log.open("wb") as out:
        worker = subprocess.Popen([*command, "--without-mingle", "--without-gossip"], cwd=EXAMPLES, env=environment,
                                  stdout=out, stderr=out, stdin=subprocess.DEVNULL)  # fmt: skip
    try:
        until(lambda: "ready." in log.read_text(), log.read_text)
        asked = subprocess.Popen([sys.executable, "celery_app.py", str(pages)], cwd=EXAMPLES, env=environment,
                                 stdout=subprocess.PIPE, text=True)  # fmt: skip
        until(lambda: "received" in log.read_text(), log.read_text)
        server.kill_host()
        os.kill(psutil.Process(worker.pid).children()[0].pid, signal.SIGKILL)
        told, _ = asked.communicate(timeout=300)
        assert asked.returncode == 0
        assert told.splitlines() == [f"{number:02}.png: {60 + number} by 40" for number in range(6)]
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0, log.read_text()
    finally:
        worker.kill()
        worker.wait()
