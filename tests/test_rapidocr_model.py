"""The RapidOCR adapter against RapidOCR called in process on the same images: equal in every value."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

for needed in ("onnxruntime", "rapidocr", "PIL"):
    pytest.importorskip(needed)

from PIL import Image, UnidentifiedImageError  # noqa: E402

from scripts import pages  # noqa: E402
from sharedmodel.client.pipeline import Pipeline  # noqa: E402
from sharedmodel.errors import BadArgument  # noqa: E402
from sharedmodel.server.canary import fingerprint  # noqa: E402
from sharedmodel.server.models import lending, rapid  # noqa: E402
from sharedmodel.server.models.rapidocr import RapidOcrModel  # noqa: E402
from tests import doc_pages  # noqa: E402
from tests.servers import running_server  # noqa: E402
from tests.test_import_rules import HEAVY  # noqa: E402

pytestmark = pytest.mark.xdist_group("rapidocr")  # the models are loaded once


# As it stands, RapidOCR scales pages until they have 736 pixels each way, which takes its time.
QUICK = {"Det.limit_side_len": 256}


@pytest.fixture(scope="module")
def model() -> RapidOcrModel:
    return RapidOcrModel(params=QUICK)


# What each call of RapidOCR leaves behind for those that follow: so all of it is said each time.
USUAL = {"use_cls": True, "text_score": 0.5, "box_thresh": 0.5, "unclip_ratio": 1.6}


class Theirs:
    """RapidOCR as its documentation calls it."""

    def __init__(self, **params: Any) -> None:
        from rapidocr import RapidOCR

        one = "EngineConfig.onnxruntime.intra_op_num_threads"
        self._ocr = RapidOCR(params={"Global.log_level": "error", one: 1, **params})

    def __call__(self, img: Any, **options: Any) -> list[dict[str, Any]]:
        found = self._ocr(img, **{**USUAL, **options})
        if found.txts is None:
            return []
        lines = zip(found.txts, found.scores, found.boxes, strict=True)
        return [{"text": text, "score": score, "position": box} for text, score, box in lines]


@pytest.fixture(scope="module")
def theirs() -> Theirs:
    return Theirs(**QUICK)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[pages.Page, Path]:
    try:
        made = pages.make(1, seed=11, lines=3)
    except pages.FontMissing as error:
        pytest.skip(str(error))
    return made[0], pages.write(made, tmp_path_factory.mktemp("pages"))[0]


def equal(ours: list[dict[str, Any]], expected: list[dict[str, Any]]) -> bool:
    assert all([*line] == ["text", "score", "position"] and line["position"].dtype == np.float32 for line in ours)
    return fingerprint(ours) == fingerprint(expected) is not None


def pixels(page: tuple[pages.Page, Path]) -> np.ndarray[Any, Any]:
    array = np.asarray(page[0].image)
    array.flags.writeable = False  # as the host hands inputs to a model
    return array


def test_a_page_is_read_as_it_was_written_and_as_rapidocr_reads_it(
    model: RapidOcrModel, theirs: Theirs, page: tuple[pages.Page, Path]
) -> None:
    expected = theirs(str(page[1]))
    assert [line["text"] for line in expected] == list(page[0].lines)
    data = page[1].read_bytes()
    for img in (pixels(page), data, memoryview(data), np.frombuffer(data, np.uint8)):
        assert equal(model.ocr(img), expected)


def test_as_it_stands_it_reads_what_rapidocr_reads(page: tuple[pages.Page, Path]) -> None:
    corner = pixels(page)[:, :272]
    expected = Theirs()(corner[..., ::-1])  # which takes arrays as BGR
    assert equal(RapidOcrModel(warm_up=False).ocr(corner), expected) and expected


OPTIONS: list[dict[str, Any]] = [
    {"use_cls": False},
    {"text_score": 0.995},
    {"box_thresh": 0.8, "unclip_ratio": 2.0},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_options_belong_to_their_call(
    model: RapidOcrModel, theirs: Theirs, page: tuple[pages.Page, Path], options: dict[str, Any]
) -> None:
    usual = model.ocr(pixels(page))
    assert equal(model.ocr(pixels(page), **options), theirs(str(page[1]), **options))
    assert equal(model.ocr(pixels(page)), usual)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def turned(image: Image.Image) -> bytes:
    """A photograph that lies on its side and says so in its EXIF data."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(image.rotate(90, expand=True), "JPEG", exif=exif.tobytes(), quality=95)


FILES: dict[str, Callable[[Image.Image], bytes]] = {
    "turned jpeg": turned,
    "gray png": lambda image: saved(image.convert("L"), "PNG"),
    "transparent png": lambda image: saved(image.convert("RGBA"), "PNG"),
    "gray and transparent png": lambda image: saved(image.convert("LA"), "PNG"),
    "one bit tiff": lambda image: saved(image.convert("1"), "TIFF"),
}


@pytest.mark.parametrize("kind", FILES)
def test_every_kind_of_image_file_is_read_as_rapidocr_reads_it(
    model: RapidOcrModel, theirs: Theirs, page: tuple[pages.Page, Path], tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "image"
    path.write_bytes(FILES[kind](page[0].image.crop((0, 0, 1000, 104))))
    assert equal(model.ocr(path.read_bytes()), theirs(str(path)))


def test_files_that_rapidocr_misreads_are_read_by_their_colours(
    model: RapidOcrModel, page: tuple[pages.Page, Path]
) -> None:
    line = page[0].image.crop((0, 0, 1000, 104))
    for file in (saved(line.convert("P"), "GIF"), saved(line.convert("CMYK"), "JPEG")):
        assert [found["text"] for found in model.ocr(file)] == [page[0].lines[0]]


def test_its_canary_is_read_and_is_read_the_same_again(model: RapidOcrModel) -> None:
    canary = model.canary()
    lines = [getattr(model, canary["method"])(*canary["args"]) for _ in range(2)]
    assert any("0123" in line["text"] for line in lines[0])
    assert fingerprint(lines[0]) == fingerprint(lines[1]) is not None


def test_an_empty_page_has_no_lines(model: RapidOcrModel) -> None:
    assert model.ocr(np.full((60, 90, 3), 255, np.uint8)) == model.ocr(np.zeros((1, 1), np.uint8)) == []


def test_threads_read_at_once_and_don_t_disturb_each_other(model: RapidOcrModel, page: tuple[pages.Page, Path]) -> None:
    ratios = [1.6, 2.0, 1.2, 2.0]
    line = pixels(page)[:104]
    expected = {ratio: model.ocr(line, unclip_ratio=ratio) for ratio in ratios}
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda ratio: model.ocr(line, unclip_ratio=ratio), ratios))
    assert all(equal(ours, expected[ratio]) for ours, ratio in zip(found, ratios, strict=True))
    assert len({fingerprint(lines) for lines in expected.values()}) == 3


WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "a path": ("page.png", TypeError, "a path is opened by the caller"),
    "nothing": (None, TypeError, "not NoneType"),
    "text": (b"nonsense", UnidentifiedImageError, "no image"),
    "no bytes": (b"", UnidentifiedImageError, "no image"),
    "no pixels": (np.zeros((0, 0, 3), np.uint8), ValueError, r"has pixels.*\(0, 0, 3\)"),
    "floats": (np.zeros((9, 9, 3), np.float32), ValueError, "of uint8.*float32"),
    "five channels": (np.zeros((9, 9, 5), np.uint8), ValueError, r"1 to 4 channels.*\(9, 9, 5\)"),
    "a hair": (np.zeros((3000, 1, 3), np.uint8), ValueError, "3000 x 1 pixels is too narrow"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_can_t_be_read_is_refused_with_the_reason(model: RapidOcrModel, case: str) -> None:
    img, error, told = WRONG[case]
    with pytest.raises(error, match=told):
        model.ocr(img)


def test_a_file_that_is_cut_off_is_refused(model: RapidOcrModel, page: tuple[pages.Page, Path]) -> None:
    with pytest.raises(OSError, match="truncated"):
        model.ocr(page[1].read_bytes()[:2000])


PARAMS: dict[str, tuple[dict[str, Any], str]] = {
    "a typing mistake": ({"Det.box_tresh": 0.6}, r"no 'Det.box_tresh' to set; there is: .*Det.box_thresh"),
    "no section": ({"box_thresh": 0.6}, "no 'box_thresh' to set; there is: .*Det"),
    "too deep": ({"Global.text_score.x": 0.6}, "no 'Global.text_score.x' to set"),
    "another engine": ({"Rec.engine_type": "torch"}, "no 'Rec.engine_type' to set"),
    "a model that is not": ({"Rec.model_type": "huge"}, "Rec.model_type is one of .*'small'.*, not 'huge'"),
}


@pytest.mark.parametrize("case", PARAMS)
def test_a_parameter_that_rapidocr_would_overlook_is_refused(case: str) -> None:
    params, told = PARAMS[case]
    with pytest.raises(BadArgument, match=told):
        RapidOcrModel(params=params)


def test_its_parameters_and_files_are_rapidocrs(model: RapidOcrModel, page: tuple[pages.Page, Path]) -> None:
    file = rapid.bundled("multi_PP-OCRv6_small")
    params = {**QUICK, "Det.unclip_ratio": 2.0, "Rec.ocr_version": "PP-OCRv6", "Rec.model_type": "small"}
    other = RapidOcrModel(lang="en", rec_model_path=file, params=params, warm_up=False)
    assert equal(other.ocr(pixels(page)), model.ocr(pixels(page), unclip_ratio=2.0))
    assert other.card() == {"lang": "en", "version": "PP-OCRv6"}


def test_a_page_whose_caller_gave_up_is_not_read_to_its_end(
    model: RapidOcrModel, page: tuple[pages.Page, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def at_once(callback: Callable[[], None]) -> Iterator[None]:
        callback()
        yield

    with monkeypatch.context() as patched:
        patched.setattr(lending, "on_cancel", at_once)
        with pytest.raises(Exception, match="terminate flag"):
            model.ocr(pixels(page))
    assert len(model.ocr(pixels(page))) == 3


def test_a_closed_model_says_so() -> None:
    model = RapidOcrModel(warm_up=False)
    model.close()
    model.close()
    with pytest.raises(RuntimeError, match="closed"):
        model.ocr(np.zeros((9, 9, 3), np.uint8))


def test_what_its_page_in_the_documentation_says_works_without_pytorch(
    runtime: str, page: tuple[pages.Page, Path], tmp_path: Path
) -> None:
    page[0].image.save(tmp_path / "page.png")
    quick = 'warm_up = false\nparams = {"Det.limit_side_len" = 256}\n'
    with running_server(doc_pages.blocks("rapidocr", "toml")[0] + quick, runtime) as server:
        printed = doc_pages.prints("rapidocr", tmp_path)
        (read,) = Pipeline("ocr").run([tmp_path / "page.png"])
        maps = Path(f"/proc/{server.host_pid}/maps").read_text()
    assert printed == [line["text"] for line in read.lines] == list(page[0].lines)
    assert "onnxruntime" in maps and "/torch/" not in maps


def test_looking_it_up_imports_no_library() -> None:
    code = "import sys, sharedmodel.server.models.rapidocr; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())
