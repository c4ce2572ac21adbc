"""The FastAPI example under gunicorn with four workers: real HTTP, real models, kills and reloads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.embedding_models import NEEDED

for needed in (*NEEDED, "fastapi", "gunicorn", "uvicorn", "multipart", "rapidocr", "PIL", "pypdfium2"):
    pytest.importorskip(needed)

from PIL import Image  # noqa: E402

from scripts import pages  # noqa: E402
from sharedmodel.client import connect  # noqa: E402
from tests import chromium  # noqa: E402
from tests.servers import Server, command  # noqa: E402
from tests.web import PATIENCE, WORKERS, Web, documented, gunicorn, more, png, under_load  # noqa: E402
from tests.web_models import model_server  # noqa: E402

pytestmark = pytest.mark.xdist_group("web-fastapi")
APP = ("--chdir", "fastapi_app", "-c", "fastapi_app/gunicorn.conf.py", "app:app")
MOST = 100_000


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[Server]:
    try:
        pages.find_font()
    except pages.FontMissing as error:
        pytest.skip(str(error))
    with model_server() as server:
        yield server


@pytest.fixture(autouse=True)
def nothing_is_left(server: Server) -> None:
    """Looked at when the module is over: its servers' processes are others after each kill and reload."""


@pytest.fixture(scope="module")
def web(server: Server) -> Iterator[Web]:
    with gunicorn(server.place.directory, *APP, TIMEOUT=str(PATIENCE), LARGEST="100000") as web:
        yield web


PAGE = pages.make(1, lines=4)[0]


def test_a_picture_becomes_its_lines_with_their_boxes(web: Web) -> None:
    told = web.upload("/ocr", png(PAGE))
    assert told.status == 200 and [line["text"] for line in told.body["lines"]] == list(PAGE.lines)
    for number, line in enumerate(told.body["lines"]):
        corners = np.array(line["box"])
        assert corners.shape == (4, 2) and line["score"] > 0.9
        middle = pages.MARGIN + number * pages.SPACING + pages.SPACING / 2
        assert corners[0, 1] < middle < corners[2, 1] + pages.SPACING / 2


def test_texts_become_the_vectors_that_the_model_gives_whichever_worker_answers(web: Web) -> None:
    texts = ["a first text", "另一个", ""]
    with connect() as host:
        expected = host.model("minilm").embed(texts)
    with ThreadPoolExecutor(8) as threads:
        for told in threads.map(lambda _: web.post("/embed", {"texts": texts}), range(16)):
            np.testing.assert_allclose(told.body["vectors"], expected, atol=1e-6)


def test_a_search_finds_what_means_the_same(web: Web) -> None:
    told = web.post("/search", {"query": "I can't sleep at night", "most": 2}).body["found"]
    assert len(told) == 2 and "fall asleep" in told[0]["text"] and told[0]["score"] > told[1]["score"]


def test_bad_input_is_422_and_says_why(web: Web) -> None:
    cases: list[tuple[Any, str]] = [
        (web.upload("/ocr", b"no picture"), "no image"),
        (web.upload("/ocr", png(PAGE)[:2000]), "truncated"),
        (web.upload("/ocr?translate=true", png(PAGE)), "no model of kind 'translator' is served"),
        (web.post("/embed", {"texts": 3}), "valid list"),
        (web.post("/search", {"query": "x", "most": 99}), "less than or equal to 24"),
    ]
    for told, why in cases:
        assert told.status == 422 and why in str(told.body["detail"]), told
    assert web.upload("/ocr", b"x" * 100_001).status == 413


def test_no_worker_holds_a_model_or_its_library(web: Web) -> None:
    assert web.get("/health").status == 200
    assert len(web.workers()) == WORKERS
    for pid in web.workers():
        assert "onnxruntime" not in Path(f"/proc/{pid}/maps").read_text()


def test_more_pages_than_fit_are_refused_with_the_time_to_come_again(web: Web) -> None:
    picture = png(PAGE)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: web.upload("/ocr", picture), range(8)))
    refused = [told for told in answers if told.status != 200]
    assert 1 <= len(refused) < 8
    for told in refused:
        assert told.status == 503 and told.body["error"] == "overloaded" and int(told.headers["retry-after"]) >= 1
    for told in answers:
        assert told in refused or tuple(line["text"] for line in told.body["lines"]) == PAGE.lines


def test_a_page_that_takes_longer_than_the_deadline_is_504(server: Server) -> None:
    with gunicorn(server.place.directory, *APP, "-w", "1", TIMEOUT="0.05") as web:
        told = web.upload("/ocr", png(pages.make(1)[0]))
        assert told.status == 504 and told.body["error"] == "deadline"


class Load:
    """Calls of the application, each answer compared."""

    def __init__(self, web: Web) -> None:
        self._web = web
        self._expected = web.post("/embed", {"texts": ["a text"]}).body
        self._picture = png(PAGE)

    def embed(self) -> None:
        told = self._web.post("/embed", {"texts": ["a text"]})
        assert (told.status, told.body) == (200, self._expected), told

    def search(self) -> None:
        told = self._web.post("/search", {"query": "bread"})
        assert told.status == 200 and "dough" in told.body["found"][0]["text"], told

    def read(self) -> None:
        told = self._web.upload("/ocr", self._picture)
        assert told.status == 200, told
        assert tuple(line["text"] for line in told.body["lines"]) == PAGE.lines


def test_reloads_of_both_servers_lose_no_request(server: Server, web: Web) -> None:
    load = Load(web)
    with under_load([load.embed, load.embed, load.search], MOST) as counts:
        web.reload()
        more(counts, 3)
        command("reload", "minilm")
        more(counts, 3)
        server.process.send_signal(signal.SIGHUP)
        more(counts, 3)
    assert web.process.poll() is None


def test_hosts_that_are_killed_under_load_cost_no_request(server: Server, web: Web) -> None:
    load = Load(web)
    with under_load([load.embed, load.embed, load.search], MOST) as counts:
        for _ in range(3):
            more(counts, 1)
            server.kill_host()
        more(counts, 1)


def test_with_preload_forked_workers_answer_alike_and_reload_without_a_loss(server: Server) -> None:
    with gunicorn(server.place.directory, "--preload", *APP) as web:
        load = Load(web)
        load.read()
        with under_load([load.embed, load.search], MOST) as counts:
            web.reload()
            more(counts, 3)
            for pid in web.workers():
                os.kill(pid, signal.SIGTERM)  # as gunicorn does to one that it replaces
            more(counts, 3)


def test_the_page_shows_the_picture_with_boxes_and_text_over_it(web: Web, tmp_path: Path) -> None:
    program = chromium.find()
    if program is None:
        pytest.skip(f"no Chromium is installed (looked for {', '.join(chromium.NAMES)})")
    page = pages.make(1, seed=3, lines=3)[0]
    (path,) = pages.write([page], tmp_path)
    over = "['done', 'failed'].includes(document.body.dataset.state)"
    with chromium.browser(program) as shown:
        shown.open(web.url + "/")
        shown.choose("#file", str(path))
        shown.until(over)
        assert shown.value("document.querySelector('#error').textContent") == ""
        texts = "[...document.querySelectorAll('#lines li span')].map(each => each.textContent)"
        assert tuple(shown.value(texts)) == page.lines
        written = "[...document.querySelectorAll('#overlay text')].map(each => each.textContent)"
        assert tuple(shown.value(written)) == page.lines
        within = """(() => {
            const picture = document.querySelector('#picture').getBoundingClientRect();
            return [...document.querySelectorAll('.box, #overlay text')].every(each => {
                const box = each.getBoundingClientRect();
                return box.width > 50 && box.left >= picture.left && box.right <= picture.right
                    && box.top >= picture.top && box.bottom <= picture.bottom;
            });
        })()"""
        assert shown.value(within) is True
        shown.value("document.forms[0].requestSubmit()")
        shown.until("document.querySelectorAll('#found li').length == 4")
        path.write_bytes(b"no picture")
        shown.choose("#file", str(path))
        shown.until("document.body.dataset.state == 'failed'")
        assert "no image" in shown.value("document.querySelector('#error').textContent")
        assert shown.screenshot().startswith(b"\x89PNG")


def test_what_the_documents_say_of_pipelines_works_as_it_stands(server: Server, tmp_path: Path) -> None:
    (path,) = pages.write([PAGE], tmp_path / "pages")
    Image.open(path).save(tmp_path / "book.pdf", resolution=100)
    commands, program = ("".join(documented("pipelines", language)) for language in ("sh", "python"))
    environment = {**os.environ, "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))}
    subprocess.run(["bash", "-ec", commands], cwd=tmp_path, env=environment, check=True, stderr=subprocess.DEVNULL)
    for name in ("out.jsonl", "vectors.jsonl"):
        for line in (tmp_path / name).read_text().splitlines():
            assert tuple(each["text"] for each in json.loads(line)["lines"]) == PAGE.lines
    with connect() as host:
        (expected,) = host.model("minilm").embed(["\n".join(PAGE.lines)])
    found = json.loads((tmp_path / "vectors.jsonl").read_text())
    np.testing.assert_allclose(found["vector"], expected, atol=1e-6)
    assert sorted(each.name for each in (tmp_path / "drawn").rglob("*.png")) == [
        "book.pdf.0001.png",
        "page-000.png.png",
    ]
    assert (tmp_path / "texts" / "pages" / "page-000.png.txt").read_text().splitlines() == list(PAGE.lines)
    ran = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    words = sum(len(line.split()) for line in PAGE.lines)
    assert ran.stdout.splitlines() == [f"pages/page-000.png {words}", f"book.pdf, page 1 {words}"]
