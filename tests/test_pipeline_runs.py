"""`sharedmodel run` against a server: killed, interrupted, gone on with; found models and missing ones."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("PIL")
pytest.importorskip("pypdfium2")

from sharedmodel.client import connect
from sharedmodel.client.pipeline import JsonLines, Page, Pipeline
from tests.pictures import folder, pdf
from tests.servers import CLI, Server, command, running_server, until

WIDTHS = range(50, 70)
AT = 60
NAMED = ("--ocr", "reader", "--translate", "capitals", "--embed", "measurer")


@pytest.fixture
def server(runtime: str) -> Iterator[Server]:
    os.mkfifo(f"{runtime}/hold")
    text = f"""
[models.reader]
factory = "zoo:Reader"
kwargs = {{calls = "{runtime}/calls", hold = "{runtime}/hold", at = {AT}}}
idempotent = ["ocr"]

[models.capitals]
factory = "zoo:Translator"
idempotent = ["translate"]

[models.measurer]
factory = "zoo:Measurer"
idempotent = ["embed"]
"""
    with running_server(text, runtime) as server:
        yield server
        _let_go(runtime)


@contextmanager
def running(*words: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([*CLI, "run", *words], stdin=subprocess.DEVNULL, text=True, **options)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


def _let_go(runtime: str) -> None:
    """The page that is held is read, and those after it are not held."""
    pipe = f"{runtime}/hold"
    if os.path.exists(pipe):
        opened = os.open(pipe, os.O_RDWR)
        os.unlink(pipe)
        os.close(opened)


def _records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _held(runtime: str, out: Path) -> None:
    """Wait until the page that is held has come, and all before it are done."""
    before = AT - WIDTHS.start
    until(lambda: len(_records(out)) == before, lambda: f"{len(_records(out))} pages, not {before}")
    until(lambda: str(AT) in Path(runtime, "calls").read_text().split(), lambda: "the held page never came")


def test_a_run_that_is_killed_goes_on_where_it_was(server: Server, runtime: str, tmp_path: Path) -> None:
    pages, out = folder(tmp_path / "pages", WIDTHS), tmp_path / "out.jsonl"
    words = ("ocr", str(pages), "-o", str(out), "--ocr", "reader")
    with running(*words, stderr=subprocess.DEVNULL) as process:
        _held(runtime, out)
        process.kill()
    done = [record["file"] for record in _records(out)]
    _let_go(runtime)
    Path(runtime, "calls").write_text("")
    command("run", *words)
    assert [record["lines"][0]["text"] for record in _records(out)] == [f"{width} by 40" for width in WIDTHS]
    read = {int(width) for width in Path(runtime, "calls").read_text().split()}
    assert read == set(WIDTHS) - {int(Path(file).stem) for file in done}
    command("run", *words)
    assert len(_records(out)) == len(WIDTHS)


def test_one_ctrl_c_ends_it_cleanly(server: Server, runtime: str, tmp_path: Path) -> None:
    pages, out = folder(tmp_path / "pages", WIDTHS), tmp_path / "out.jsonl"
    with running("ocr", str(pages), "-o", str(out), "--ocr", "reader", stderr=subprocess.PIPE) as process:
        _held(runtime, out)
        process.send_signal(signal.SIGINT)
        _let_go(runtime)
        _, told = process.communicate(timeout=100)
    assert process.returncode == 130
    assert told == "10 pages done; interrupted; the same command goes on from here\n"
    assert len(_records(out)) == 10


def test_a_restart_that_is_interrupted_goes_on_without_the_option(server: Server, runtime: str, tmp_path: Path) -> None:
    pages, out = folder(tmp_path / "pages", WIDTHS), tmp_path / "out.jsonl"
    words = ("ocr", str(pages), "-o", str(out), "--ocr", "reader")
    with running(*words, "--restart", stderr=subprocess.PIPE) as process:
        _held(runtime, out)
        process.send_signal(signal.SIGINT)
        _let_go(runtime)
        _, told = process.communicate(timeout=100)
    assert told == "10 pages done; interrupted; the same command without --restart goes on from here\n"
    done = subprocess.run([*CLI, "run", *words], capture_output=True, text=True, check=True)
    assert done.stderr == "10 pages done, 10 done before\n"


def test_a_host_that_is_killed_costs_nothing(server: Server, runtime: str, tmp_path: Path) -> None:
    pages, out = folder(tmp_path / "pages", WIDTHS), tmp_path / "out.jsonl"
    with running("ocr", str(pages), "-o", str(out), "--ocr", "reader") as process:
        _held(runtime, out)
        os.unlink(f"{runtime}/hold")
        server.kill_host()
        assert process.wait(30) == 0
    assert len(_records(out)) == len(WIDTHS)


def test_a_server_that_ends_ends_the_run_which_goes_on_with_the_next(
    server: Server, runtime: str, tmp_path: Path
) -> None:
    pages, out = folder(tmp_path / "pages", WIDTHS), tmp_path / "out.jsonl"
    words = ("ocr", str(pages), "-o", str(out), "--ocr", "reader")
    with running(*words, stderr=subprocess.PIPE) as process:
        _held(runtime, out)
        command("stop", "--now")
        _, told = process.communicate(timeout=100)
    assert process.returncode == 3 and "no host is running" in told
    assert len(_records(out)) == 10 and not any("error" in record for record in _records(out))


def test_pages_are_read_translated_and_embedded_from_pictures_and_pdfs(
    server: Server, runtime: str, tmp_path: Path
) -> None:
    pages, out = folder(tmp_path / "pages", range(10, 12)), tmp_path / "out.jsonl"
    pdf(pages / "book.pdf", range(40, 43))
    (pages / "0010b.png").write_bytes(b"no picture")
    words = ("ocr-translate-embed", str(pages), "--to", "caps", "-o", str(out), "--text", str(tmp_path / "texts"))
    told = command("run", *words, *NAMED, "--pictures", str(tmp_path / "drawn"), "--dpi", "144", code=1)
    assert "0010b.png: UnidentifiedImageError" in told and "5 pages done, 1 failed" in told
    first, bad, _, *book = _records(out)
    assert first["lines"] == [{"text": "10 by 40", "score": 0.5, "translation": "10 BY 40",
                               "box": [[1, 1], [8, 1], [8, 38], [1, 38]]}]  # fmt: skip
    assert first["vector"] == [8.0, 1.0] and first["pipeline"] == "ocr-translate:caps-embed"
    assert bad["error"]["type"] == "UnidentifiedImageError"
    assert [(page["page"], page["lines"][0]["text"]) for page in book] == [
        (number, f"{78 + 2 * number} by 80") for number in (1, 2, 3)
    ]
    assert (tmp_path / "texts" / "book.pdf.0002.txt").read_text() == "82 BY 80\n"
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == [
        ".sharedmodel.json", "0010.png.png", "0011.png.png",
        "book.pdf.0001.png", "book.pdf.0002.png", "book.pdf.0003.png",
    ]  # fmt: skip


def test_what_is_missing_is_named(server: Server, tmp_path: Path) -> None:
    pages = str(folder(tmp_path / "pages", range(10, 11)))
    cases = {
        ("ocr", pages): "no model of kind 'cnocr' or 'rapidocr' is served",
        ("ocr-translate", pages, "--ocr", "reader"): "no model of kind 'translator' is served; there are: capitals",
        ("ocr-embed", pages, "--ocr", "reader", "--embed", "reader"): "model 'reader' has no method 'embed'",
        ("ocr-summarise", pages): "no stage 'summarise'",
        ("ocr", "/no/such/page", "--ocr", "reader"): "there is no such file",
        ("ocr", pages, "--ocr", "reader", "-o", f"{pages}/no/out"): "out: No such file or directory",
    }
    for words, why in cases.items():
        assert why in command("run", *words, code=1 if "out" in why else 2), words


def test_without_an_output_lines_go_to_the_screen(server: Server, tmp_path: Path) -> None:
    pages = folder(tmp_path / "pages", range(10, 12))
    told = command("run", "ocr", str(pages), "--ocr", "reader")
    assert [json.loads(line)["lines"][0]["text"] for line in told.splitlines()] == ["10 by 40", "11 by 40"]


def test_on_a_terminal_a_bar_tells_how_it_goes(server: Server, tmp_path: Path) -> None:
    pages = folder(tmp_path / "pages", range(10, 15))
    pdf(pages / "book.pdf", range(30, 33))
    (pages / "bad.png").write_bytes(b"no picture")
    screen, terminal = pty.openpty()
    shown = b""
    folder(pages / "drawn", range(10, 12))  # of an earlier run: no pages
    words = ("ocr", str(pages), "--ocr", "reader", "-o", str(tmp_path / "out"), "--pictures", str(pages / "drawn"))
    environment = {**os.environ, "COLUMNS": "120", "TERM": "xterm"}
    with running(*words, stderr=terminal, env=environment) as process:
        os.close(terminal)
        while select.select([screen], [], [], 30)[0]:
            try:
                shown += os.read(screen, 65536)
            except OSError:  # the other end is closed
                break
        assert process.wait(30) == 1
    os.close(screen)
    assert "9/9" in shown.decode() and "pages/s" in shown.decode() and "1 failed" in shown.decode()
    assert "bad.png: UnidentifiedImageError" in shown.decode()


def test_the_same_from_python_in_a_few_lines(server: Server, tmp_path: Path) -> None:
    pages = folder(tmp_path / "pages", range(10, 13))

    def words(page: Page) -> None:
        page["words"] = len(page.text.split())

    with connect() as host:
        pipeline = Pipeline("ocr-translate", words, host=host, models={"ocr": "reader", "translate": "capitals"})
        found = [(page.text, page["words"]) for page in pipeline.run([pages], JsonLines(tmp_path / "out"))]
    assert found == [(f"{width} BY 40", 3) for width in range(10, 13)]
