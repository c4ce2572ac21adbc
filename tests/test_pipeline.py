"""Pipelines without a server: what is read, in which order, what comes of errors, and what a later run knows."""

from __future__ import annotations

import errno
import gc
import json
import os
import stat
import sys
import threading
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sharedmodel.client.pipeline import JsonLines, Page, Pictures, Pipeline, Texts, threads
from sharedmodel.client.pipeline.done import Done
from sharedmodel.client.pipeline.stages import chosen, reading
from sharedmodel.errors import BadArgument, LoadFailed, Overloaded
from tests.forked import forked
from tests.pictures import folder, pdf, picture

pytest.importorskip("PIL")

from PIL import Image, ImageChops


def size(page: Page) -> None:
    """A stage: one line that tells how many bytes there are to see, and a box."""
    image = page.image
    known = image.shape if isinstance(image, np.ndarray) else len(image)
    page["lines"] = [{"text": str(known), "score": 1.0, "box": [[2, 2], [50, 2], [50, 30], [2, 30]]}]


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def run(pipeline: Pipeline, paths: Iterable[Path], *outputs: Any) -> list[Page]:
    return list(pipeline.run(paths, *outputs))


def test_folders_are_walked_in_order_and_other_files_are_left_out(tmp_path: Path) -> None:
    pages = folder(tmp_path / "pages", range(10, 14))
    folder(pages / "0011below", range(5, 7))
    (pages / "notes.txt").write_text("no page")
    (pages / "around").symlink_to(pages)
    found = run(Pipeline(size), [pages, tmp_path / "pages" / "0012.png"])
    names = [os.path.relpath(page.file, pages) for page in found]
    below = ["0011below/0005.png", "0011below/0006.png"]
    assert names == ["0010.png", "0011.png", *below, "0012.png", "0013.png", "0012.png"]
    assert all(page.text == str(os.path.getsize(page.file)) for page in found)


def test_pages_of_a_pdf_are_drawn_as_finely_as_asked(tmp_path: Path) -> None:
    pytest.importorskip("pypdfium2")
    book = pdf(tmp_path / "book.pdf", range(50, 53))
    found = run(Pipeline(size, dpi=144), [book])
    assert [(page.number, page.text) for page in found] == [
        (number, str((80, 2 * width, 3))) for number, width in ((1, 50), (2, 51), (3, 52))
    ]
    assert str(found[1]) == f"{book}, page 2"


def test_a_tiff_of_several_pages_is_all_of_them_and_one_of_one_is_a_picture(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    first, *rest = [image.new("1", (width, 40), 1) for width in (50, 51, 52)]  # black and white, as faxes are
    first.save(tmp_path / "fax.tif", save_all=True, append_images=rest)
    first.save(tmp_path / "one.TIFF")
    out = tmp_path / "out.jsonl"
    found = run(Pipeline(size), [tmp_path / "fax.tif", tmp_path / "one.TIFF"], JsonLines(out))
    assert [page.number for page in found] == [1, 2, 3, None]
    assert [page.text for page in found[:3]] == [str((40, width, 3)) for width in (50, 51, 52)]
    assert str(found[1]) == f"{tmp_path}/fax.tif, page 2"
    assert run(Pipeline(size), [tmp_path / "fax.tif", tmp_path / "one.TIFF"], JsonLines(out)) == []


def test_a_page_of_a_tiff_that_can_not_be_read_is_an_error_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = pytest.importorskip("PIL.Image")
    pages = [image.new("RGB", (width, 40), "white") for width in (50, 51, 52)]
    pages[0].save(tmp_path / "scan.tif", save_all=True, append_images=pages[1:])
    convert = image.Image.convert

    def too_large(picture: Any, *args: Any) -> Any:
        if picture.width == 51:
            raise MemoryError
        return convert(picture, *args)

    monkeypatch.setattr(image.Image, "convert", too_large)
    found = run(Pipeline(size), [tmp_path / "scan.tif"])
    assert [(page.number, page.error is None) for page in found] == [(1, True), (2, False), (3, True)]
    (tmp_path / "none.tif").write_bytes(b"none")
    assert [page.number for page in run(Pipeline(size), [tmp_path / "none.tif"])] == [None]


def test_a_file_that_can_not_be_read_is_an_error_of_its_own_and_the_rest_goes_on(tmp_path: Path) -> None:
    pytest.importorskip("pypdfium2")
    pages = folder(tmp_path / "pages", range(10, 14))
    (pages / "0011.png").unlink()
    (pages / "0011.png").mkdir()
    (pages / "0012.pdf").write_bytes(b"%PDF-1.4 no more")
    (pages / "0015.png").symlink_to("nowhere")

    def picky(page: Page) -> None:
        if "0013" in page.file:
            raise ValueError("not this one")
        size(page)

    out = tmp_path / "out.jsonl"
    found = run(Pipeline(picky), [pages], JsonLines(out))
    told = {Path(page.file).name: type(page.error).__name__ for page in found}
    assert told == {"0010.png": "NoneType", "0012.png": "NoneType", "0012.pdf": "PdfiumError", "0013.png": "ValueError"}
    assert records(out)[3]["error"] == {"type": "ValueError", "message": "not this one"}
    again = run(Pipeline(picky), [pages], JsonLines(out))
    assert [Path(page.file).name for page in again] == ["0012.pdf", "0013.png"]
    assert len(records(out)) == 4


def test_a_folder_that_can_not_be_looked_into_is_an_error_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages, out = tmp_path / "pages", tmp_path / "out.jsonl"
    for name, widths in (("a", range(10, 12)), ("b", range(20, 22)), ("c", range(30, 32))):
        folder(pages / name, widths)
    scandir = os.scandir

    def forbidding(path: str) -> Any:  # as for a user other than root, whom nothing is forbidden
        if path == str(pages / "b"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    with monkeypatch.context() as patched:
        patched.setattr("os.scandir", forbidding)
        run(Pipeline(size), [pages], JsonLines(out))
    read = [each for each in records(out) if "error" not in each]
    failed = [each for each in records(out) if "error" in each]
    assert [Path(each["file"]).name for each in read] == ["0010.png", "0011.png", "0030.png", "0031.png"]
    assert [(each["file"], each["error"]["type"]) for each in failed] == [(str(pages / "b"), "PermissionError")]
    assert [Path(page.file).name for page in run(Pipeline(size), [pages], JsonLines(out))] == ["0020.png", "0021.png"]
    assert len(records(out)) == 6


def test_a_page_of_a_pdf_too_large_for_memory_is_an_error_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pypdfium2 = pytest.importorskip("pypdfium2")
    render = pypdfium2.PdfPage.render

    def too_large(page: Any, **options: Any) -> Any:
        if page.get_width() > 50:
            raise MemoryError
        return render(page, **options)

    monkeypatch.setattr(pypdfium2.PdfPage, "render", too_large)
    found = run(Pipeline(size), [pdf(tmp_path / "book.pdf", range(49, 52))])
    assert [(page.number, page.error is None) for page in found] == [(1, True), (2, True), (3, False)]
    assert found[2].reason == ("MemoryError", "it is too large to be drawn at 200 dpi")


def test_what_has_begun_is_put_out_before_an_error_of_the_source_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages, out = folder(tmp_path / "pages", range(10, 13)), tmp_path / "out.jsonl"
    (pages / "book.pdf").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pypdfium2", None)
    with pytest.raises(BadArgument, match="needs pypdfium2"):
        run(Pipeline(size, at_once=4), [pages], JsonLines(out))
    assert [Path(each["file"]).name for each in records(out)] == ["0010.png", "0011.png", "0012.png"]


def test_nothing_to_read_is_refused() -> None:
    for paths in ([], ["/no/such/folder"]):
        with pytest.raises(BadArgument, match=r"no (such )?file"):
            list(Pipeline(size).run(paths))
    for name in ("read", "translate", "ocr-ocr", "ocr-", "embed-ocr"):
        with pytest.raises(BadArgument, match=r"no stage|begins with ocr"):
            Pipeline(name)


TRANSLATORS: dict[str, tuple[list[str], str, str]] = {
    "the one to that language": (["opus-mt-en-de", "opus-mt-en-zh"], "zh", "opus-mt-en-zh"),
    "one that says no language": (["opus-mt-en-de", "any"], "zh", "any"),
    "none to that language": (["opus-mt-en-de"], "zh", "no translator to 'zh' is served"),
    "none at all": ([], "zh", "no model of kind 'translator' is served"),
    "several that say no language": (["one", "other"], "zh", "several models of kind 'translator'"),
}


@pytest.mark.parametrize("case", TRANSLATORS)
def test_a_translator_is_chosen_by_the_language_in_its_name(case: str) -> None:
    names, to, outcome = TRANSLATORS[case]
    states = {"ocr": {"kind": "cnocr"}} | {name: {"kind": "translator"} for name in names}
    if " " not in outcome:
        assert chosen(states, "translate", ("translator",), to) == outcome
    else:
        with pytest.raises(BadArgument, match=outcome):
            chosen(states, "translate", ("translator",), to)


def test_stages_overlap_and_pages_come_in_their_order(tmp_path: Path) -> None:
    pages = folder(tmp_path / "pages", range(10, 20))
    both = threading.Barrier(2)

    def first(page: Page) -> None:
        if page.file.endswith("0011.png"):
            both.wait(30)

    def second(page: Page) -> None:
        if page.file.endswith("0010.png"):
            both.wait(30)  # only there while another page is in the first stage

    found = run(Pipeline(first, second, at_once=2), [pages])
    assert [int(Path(page.file).stem) for page in found] == [*range(10, 20)]


def test_few_pages_are_held_however_many_there_are(tmp_path: Path) -> None:
    pages = folder(tmp_path / "pages", range(10, 110))
    alive: weakref.WeakSet[Page] = weakref.WeakSet()
    most = 0

    def counted(page: Page) -> None:
        nonlocal most
        alive.add(page)
        most = max(most, len(alive))

    gc.collect()
    assert sum(1 for _ in Pipeline(counted, at_once=3).run([pages])) == 100
    assert most <= 2 * 3 + 2


def test_a_stage_of_ones_own_adds_what_json_has_or_arrays(tmp_path: Path) -> None:
    (page,) = folder(tmp_path / "pages", range(10, 11)).iterdir()

    def vector(page: Page) -> None:
        page["vector"] = np.arange(3, dtype="f4")

    def strange(page: Page) -> None:
        page["strange"] = object()

    run(Pipeline(vector), [page], JsonLines(tmp_path / "a"))
    assert records(tmp_path / "a") == [{"file": str(page), "pipeline": "vector", "vector": [0.0, 1.0, 2.0]}]

    def odd(page: Page) -> None:
        page["odd"] = {"a": (float("nan"), 1.0), "b": np.array([np.inf, 2.0], "f4"), "c": "\ud800"}

    run(Pipeline(odd), [page], JsonLines(tmp_path / "c"))
    assert records(tmp_path / "c")[0]["odd"] == {"a": [None, 1.0], "b": [None, 2.0], "c": "\ud800"}
    (found,) = run(Pipeline(strange), [page], JsonLines(tmp_path / "b"))
    assert isinstance(found.error, TypeError) and "error" in records(tmp_path / "b")[0]


@pytest.mark.parametrize("name", ["file", "cwd", "page", "pipeline", "error"])
def test_a_field_whose_name_is_taken_is_refused_by_name(name: str, tmp_path: Path) -> None:
    def takes(page: Page) -> None:
        page[name] = 7

    pages, out = folder(tmp_path / "pages", range(10, 12)), tmp_path / "out"
    for _ in range(2):  # for the second run they are failed pages, and nothing else
        found = run(Pipeline(takes), [pages], JsonLines(out))
        assert [type(page.error) for page in found] == [BadArgument] * 2 and f"a field {name!r}" in str(found[0].error)
        assert [record["file"] for record in records(out)] == [page.file for page in found]


def test_a_host_that_is_full_is_asked_again(tmp_path: Path) -> None:
    tries: list[str] = []

    def full(page: Page) -> None:
        tries.append(page.file)
        if len(tries) < 3:
            raise Overloaded("full", 0.001)

    (found,) = run(Pipeline(full), [folder(tmp_path / "pages", range(10, 11))])
    assert found.error is None and len(tries) == 3


def test_what_every_page_would_meet_ends_the_run(tmp_path: Path) -> None:
    def unloadable(page: Page) -> None:
        raise LoadFailed("no weights")

    with pytest.raises(LoadFailed):
        run(Pipeline(unloadable), [folder(tmp_path / "pages", range(10, 14))], JsonLines(tmp_path / "out"))
    assert records(tmp_path / "out") == []


def test_a_torn_line_is_cut_off_and_its_page_is_done_again(tmp_path: Path) -> None:
    pages, out = folder(tmp_path / "pages", range(10, 14)), tmp_path / "out"
    run(Pipeline(size), [pages], JsonLines(out))
    whole = out.read_bytes()
    out.write_bytes(whole[:-7])
    skipped: list[Page] = []
    (again,) = Pipeline(size).run([pages], JsonLines(out), skipped=skipped.append)
    assert again.file.endswith("0013.png") and len(skipped) == 3
    assert out.read_bytes() == whole


def test_an_output_whose_failed_pages_are_tried_again_keeps_its_mode_and_stays_a_link(tmp_path: Path) -> None:
    def fails(page: Page) -> None:
        raise ValueError("not this one")

    pages, out, link = folder(tmp_path / "pages", range(10, 12)), tmp_path / "real" / "out", tmp_path / "link"
    out.parent.mkdir()
    link.symlink_to(out)
    run(Pipeline(fails), [pages], JsonLines(link))
    out.chmod(0o604)
    run(Pipeline(fails), [pages], JsonLines(link))
    assert link.is_symlink() and len(records(out)) == 2
    assert stat.S_IMODE(out.stat().st_mode) == 0o604
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_an_output_of_something_else_is_not_touched(tmp_path: Path) -> None:
    pages, out = folder(tmp_path / "pages", range(10, 12)), tmp_path / "out"
    run(Pipeline(size), [pages], JsonLines(out))
    before = out.read_bytes()

    def other(page: Page) -> None:
        pass

    with pytest.raises(BadArgument, match="made by the pipeline 'size', and this is 'other'"):
        run(Pipeline(other), [pages], JsonLines(out))
    held = Pipeline(size).run([pages], JsonLines(out, restart=True))
    next(held)
    with pytest.raises(BadArgument, match="being written by another run"):
        run(Pipeline(size), [pages], JsonLines(out))
    assert len([*held]) == 1
    assert out.read_bytes() == before
    out.write_text("a letter\n")
    with pytest.raises(BadArgument, match="line 1"):
        run(Pipeline(size), [pages], JsonLines(out))


@pytest.mark.parametrize(
    ("there", "told"),
    [
        ('{"important": 1}', "line 1: no page of a pipeline"),
        ('{"file": "mine", "important": 1}', "line 1: no page of a pipeline"),
        ("a letter", "line 1: no page of a pipeline"),
        ("{MINE}a letter", "line 3: no page of a pipeline"),
        ('{"file": "x.png", "pipeline": "other"}', "made by the pipeline 'other'"),
    ],
)
def test_a_file_without_a_newline_at_its_end_is_not_taken_for_a_torn_line(
    there: str, told: str, tmp_path: Path
) -> None:
    pages, out = folder(tmp_path / "pages", range(10, 12)), tmp_path / "out"
    run(Pipeline(size), [pages], JsonLines(out))
    out.write_text(there := there.replace("{MINE}", out.read_text()))
    with pytest.raises(BadArgument, match=told):
        run(Pipeline(size), [pages], JsonLines(out))
    assert out.read_text() == there


def test_wherever_a_kill_tears_a_line_the_run_goes_on(tmp_path: Path) -> None:
    pages, out = folder(tmp_path / "pages", range(10, 11)), tmp_path / "out"
    run(Pipeline(size), [pages], JsonLines(out))
    whole = out.read_bytes()
    for left in range(len(whole)):
        out.write_bytes(whole[:left])
        run(Pipeline(size), [pages], JsonLines(out))
        assert out.read_bytes() == whole


def test_a_child_that_is_forked_meanwhile_neither_keeps_an_output_nor_gives_it_up(tmp_path: Path) -> None:
    kept, given_up = JsonLines(tmp_path / "kept"), JsonLines(tmp_path / "given up")
    kept.open("size", "/")
    given_up.open("size", "/")
    with forked() as both:
        if both.in_child:
            given_up.close()
        both.meet()
        if not both.in_child:
            with pytest.raises(BadArgument, match="being written by another run"):
                JsonLines(tmp_path / "given up").open("size", "/")
            kept.close()
            again = JsonLines(tmp_path / "kept")
            again.open("size", "/")
            again.close()
        both.meet()
    given_up.close()


def test_pages_of_one_name_in_two_working_folders_are_two_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, found = tmp_path / "out", []
    for name, widths in (("a", range(10, 13)), ("b", range(11, 14))):
        monkeypatch.chdir(folder(tmp_path / name, widths))
        found.append([page.file for page in run(Pipeline(size), [Path()], JsonLines(out))])
        assert run(Pipeline(size), [tmp_path / name], JsonLines(out)) == []
    assert found == [["./0010.png", "./0011.png", "./0012.png"], ["./0011.png", "./0012.png", "./0013.png"]]
    assert {record["cwd"] for record in records(out)} == {str(tmp_path / "a"), str(tmp_path / "b")}


def test_an_output_whose_relative_names_tell_no_folder_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder(tmp_path / "a", range(10, 12)))
    out = tmp_path / "out"
    out.write_text('{"file": "./0010.png", "pipeline": "size", "lines": []}\n')
    assert [page.file for page in run(Pipeline(size), [Path()], JsonLines(out))] == ["./0011.png"]


def test_texts_and_pictures_lie_in_folders_like_the_sources(tmp_path: Path) -> None:
    pages = folder(tmp_path / "pages", range(60, 62))
    folder(pages / "below", range(70, 71))
    outputs = (Texts(tmp_path / "texts"), Pictures(tmp_path / "drawn"))
    assert len(run(Pipeline(size), [pages], *outputs)) == 3
    assert run(Pipeline(size), [pages], *outputs) == []
    (tmp_path / "drawn" / "0061.png.png").unlink()
    (again,) = run(Pipeline(size), [pages], *outputs)
    assert again.file.endswith("0061.png")
    below = tmp_path / "texts" / "below" / "0070.png.txt"
    assert below.read_text() == f"{os.path.getsize(pages / 'below' / '0070.png')}\n"
    drawn = Image.open(tmp_path / "drawn" / "0060.png.png").convert("RGB")
    changed = ImageChops.difference(drawn, Image.new("RGB", (60, 40), "white")).getbbox()
    assert drawn.size == (60, 40) and changed == (2, 2, 51, 31)
    assert drawn.getpixel((2, 10)) == (79, 70, 229)
    assert min(drawn.crop((5, 5, 48, 28)).convert("L").getextrema()) < 100  # ink


def test_a_folder_of_other_pages_or_of_another_pipeline_is_refused(tmp_path: Path) -> None:
    one, other = (folder(tmp_path / name, range(60, 62)) for name in ("one", "other"))
    texts = tmp_path / "texts"
    run(Pipeline(size), [one], Texts(texts))
    before = {path: path.read_bytes() for path in texts.iterdir()}

    def none(page: Page) -> None:
        page["lines"] = []

    for pipeline, pages in ((Pipeline(size), other), (Pipeline(none), one)):
        with pytest.raises(BadArgument) as refused:
            run(pipeline, [pages], Texts(texts))
        told = f"{texts} was made by the pipeline 'size' from {one}, and this is {pipeline.name!r} from {pages}"
        assert told in str(refused.value)
    assert {path: path.read_bytes() for path in texts.iterdir()} == before
    run(Pipeline(none), [other], Texts(texts, restart=True))
    assert [path.read_text() for path in sorted(texts.glob("*.txt"))] == ["", ""]
    for path in texts.glob("*.txt"):
        path.unlink()
    run(Pipeline(none), [one], Texts(texts))  # nothing is left that could be taken for this one's
    (texts / ".sharedmodel.json").write_text("[]")
    with pytest.raises(BadArgument, match="none of ours"):
        run(Pipeline(size), [one], Texts(texts))


def test_a_folder_that_an_earlier_version_made_is_gone_on_with(tmp_path: Path) -> None:
    pages, texts = folder(tmp_path / "pages", range(60, 63)), tmp_path / "texts"
    texts.mkdir()
    (texts / "0061.png.txt").write_text("read before")
    for left in (["0060.png", "0062.png"], []):
        assert [Path(page.file).name for page in run(Pipeline(size), [pages], Texts(texts))] == left
    assert (texts / "0061.png.txt").read_text() == "read before"


def test_a_restart_that_is_interrupted_is_gone_on_with_without_what_was_there_before(tmp_path: Path) -> None:
    pages, texts = folder(tmp_path / "pages", range(60, 63)), tmp_path / "texts"
    run(Pipeline(size), [pages], Texts(texts))
    begun = Pipeline(size).run([pages], Texts(texts, restart=True))
    assert next(begun).file.endswith("0060.png")
    begun.close()
    remade = texts / "0060.png.txt"
    later = (texts / ".sharedmodel.json").stat().st_mtime + 10
    os.utime(remade, (later, later))  # the clock of files is a coarse one
    left = [Path(page.file).name for page in run(Pipeline(size), [pages], Texts(texts))]
    assert left == ["0061.png", "0062.png"]


def test_pictures_that_are_made_below_the_source_are_no_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = folder(tmp_path / "pages", range(60, 62))
    folder(pages / "texts", range(70, 71))  # a text that is made there is no page anyhow
    monkeypatch.chdir(pages)
    for left in (3, 0):
        outputs = (Pictures("drawn/"), Texts("texts"), JsonLines("out.jsonl"))
        assert len(run(Pipeline(size), [Path()], *outputs)) == left
    assert len([*Path("drawn").rglob("*.png")]) == 3
    with pytest.raises(BadArgument, match="would be pages as well"):
        run(Pipeline(size), [pages], Pictures("."))
    assert len([*pages.glob("*.png")]) == 2


def test_names_as_long_as_they_may_be_are_cut_short_and_told_apart(tmp_path: Path) -> None:
    pages, out = folder(tmp_path / "pages", range(60, 61)), tmp_path / "texts"
    names = [f"{'扫' * 83}{number}.png" for number in (1, 2)]
    for name in names:
        (pages / name).write_bytes(picture())
    for left in (3, 0):
        assert len(run(Pipeline(size), [pages], Texts(out))) == left
    made = sorted(path.name for path in out.glob("*.txt"))
    assert made[0] == "0060.png.txt" and len(made) == 3
    assert all(name.startswith("扫" * 70) and name.endswith(".txt") for name in made[1:])


def test_lines_of_a_model_that_does_not_tell_where_they_are_have_no_box(tmp_path: Path) -> None:
    class Naive:
        def ocr(self, image: Any) -> list[dict[str, Any]]:
            return [{"text": text, "score": np.float32(0.5)} for text in ("one", "two")]

    model: Any = Naive()
    (found,) = run(Pipeline(reading(model)), [folder(tmp_path / "a", range(60, 61))], Pictures(tmp_path / "drawn"))
    assert found.error is None and found.text == "one\ntwo"
    assert found.lines == [{"text": "one", "score": 0.5}, {"text": "two", "score": 0.5}]
    assert Image.open(tmp_path / "drawn" / "0060.png.png").convert("L").getextrema() == (255, 255)


def test_a_name_that_is_no_utf8_keeps_its_bytes(tmp_path: Path) -> None:
    pages, out = folder(tmp_path / "pages", range(10, 11)), tmp_path / "out"
    strange = os.path.join(os.fsencode(pages), b"\xff.png")
    with open(strange, "wb") as file:
        file.write(picture())
    run(Pipeline(size), [pages], JsonLines(out))
    assert os.fsencode(records(out)[1]["file"]) == strange
    assert run(Pipeline(size), [pages], JsonLines(out)) == []


def test_a_call_that_does_not_come_back_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "GRACE", 0.05)
    stuck = threading.Event()
    begun = Pipeline(lambda page: page.file.endswith("0011.png") and stuck.wait(60), at_once=2)
    found = begun.run([folder(tmp_path / "pages", range(10, 14))])
    next(found)
    found.close()
    stuck.set()


def test_many_keys_are_remembered_in_little_room() -> None:
    done = Done()
    for number in range(20_000):
        done.add(f"pages/{number}.png")
    assert all(f"pages/{number}.png" in done for number in range(0, 20_000, 997))
    assert not any(f"pages/{number}.jpg" in done for number in range(0, 20_000, 997))
    assert done._sorted.nbytes == 160_000
