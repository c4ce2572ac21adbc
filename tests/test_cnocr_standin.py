"""`sharedmodel.client.cnocr` against CnOcr in the same process: equal in every value, and in every mistake."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

for needed in ("onnxruntime", "rapidocr", "torch", "PIL"):
    pytest.importorskip(needed)

from PIL import Image  # noqa: E402

from scripts import pages  # noqa: E402
from sharedmodel.client.cnocr import CnOcr  # noqa: E402
from sharedmodel.errors import NotPermitted  # noqa: E402
from sharedmodel.server.models.hollow import TORCHVISION, hollow  # noqa: E402
from tests import both, doc_pages  # noqa: E402
from tests.both import alike, found_host, outcome  # noqa: E402
from tests.ocr_pages import SMALL, corner_of, one_page, share_one_copy  # noqa: E402
from tests.servers import Server, running_server  # noqa: E402
from tests.standin_workers import lines_of  # noqa: E402

pytestmark = pytest.mark.xdist_group("cnocr")  # the library is imported once

NAME = "multi_PP-OCRv6_small"


def files() -> dict[str, str]:
    import rapidocr

    models = Path(rapidocr.__file__).parent / "models"
    return {
        "rec_model_fp": str(models / "PP-OCRv6_rec_small.onnx"),
        "det_model_fp": str(models / "PP-OCRv6_det_small.onnx"),
    }


class Pair(both.Pair):
    """CnOcr and its stand-in, made with the same arguments."""

    same = staticmethod(alike)

    def __init__(self, **options: Any) -> None:
        with hollow(TORCHVISION):
            from cnocr import CnOcr as Real
        self.real = Real
        self.ours, self.theirs = CnOcr(NAME, **files(), **options), Real(NAME, **files(), **options)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with found_host() as server:
        yield server


@pytest.fixture(scope="module")
def pair(server: Server) -> Pair:
    return Pair(det_more_configs=SMALL)


@pytest.fixture(scope="module")
def naive(server: Server) -> Pair:
    return Pair(det_model_name="naive_det")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[pages.Page, Path]:
    return one_page(tmp_path_factory.mktemp("pages"), 3)


@pytest.fixture(scope="module")
def corner(page: tuple[pages.Page, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    return corner_of(page[0], tmp_path_factory.mktemp("corner"))


OPTIONS: list[dict[str, Any]] = [
    {},
    {"return_cropped_image": True, "rec_batch_size": 2},
    {"resized_shape": (512, 512), "preserve_aspect_ratio": False, "min_box_size": 4, "box_score_thresh": 0.5},
    {"batch_size": 1, "unknown": 3},
]


def test_as_most_people_make_it_a_page_gives_what_cnocr_gives(server: Server, page: tuple[pages.Page, Path]) -> None:
    pair = Pair()
    expected = pair.theirs.ocr(str(page[1]))
    assert [line["text"] for line in expected] == list(page[0].lines)
    alike(pair.ours.ocr(str(page[1])), expected)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_page_gives_what_cnocr_gives(pair: Pair, page: tuple[pages.Page, Path], options: dict[str, Any]) -> None:
    expected = pair.theirs.ocr(str(page[1]), **options)
    assert [line["text"] for line in expected] == list(page[0].lines)
    alike(pair.ours.ocr(str(page[1]), **options), expected)


def tensor(image: Any) -> Any:
    import torch

    return torch.from_numpy(np.array(image))


FORMS: dict[str, Callable[[Any], Any]] = {
    "a PIL image": lambda image: image,
    "a PIL image with transparency": lambda image: image.convert("RGBA"),
    "a gray PIL image": lambda image: image.convert("L"),
    "an array": np.asarray,
    "a gray array": lambda image: np.asarray(image.convert("L")),
    "a gray array with its channel": lambda image: np.asarray(image.convert("L"))[..., None],
    "floats": lambda image: np.asarray(image, "f4"),
    "an upside-down view": lambda image: np.asarray(image)[::-1, ::-1],
    "a torch tensor": tensor,
}


@pytest.mark.parametrize("form", ["a path", *FORMS])
def test_every_form_of_an_image_gives_what_cnocr_gives(
    pair: Pair, naive: Pair, corner: tuple[Any, Path], form: str
) -> None:
    given = FORMS[form](corner[0]) if form in FORMS else corner[1]
    for each in (pair, naive):
        expected = outcome(lambda each=each: each.theirs.ocr(given))
        alike(outcome(lambda each=each: each.ours.ocr(given)), expected)


def photographs() -> list[Path]:
    """Real ones that installed packages bring along."""
    spec = importlib.util.find_spec("matplotlib")
    folder = Path(spec.origin).parent / "mpl-data" / "sample_data" if spec and spec.origin else Path("none")
    return [path for path in (folder / "grace_hopper.jpg", folder / "logo2.png") if path.exists()]


def test_photographs_give_what_cnocr_gives(pair: Pair) -> None:
    found = photographs()
    if not found:
        pytest.skip("no package with photographs is installed")
    for path in found:
        expected = pair.theirs.ocr(path, return_cropped_image=True)
        alike(pair.ours.ocr(path, return_cropped_image=True), expected)


def test_without_a_detector_pages_give_what_cnocr_gives(naive: Pair, page: tuple[pages.Page, Path]) -> None:
    for options in ({}, {"return_cropped_image": True, "rec_batch_size": 2, "unknown": 1}):
        expected = naive.theirs.ocr(str(page[1]), **options)
        assert len(expected) == 3
        alike(naive.ours.ocr(str(page[1]), **options), expected)


def test_single_lines_give_what_cnocr_gives(pair: Pair, page: tuple[pages.Page, Path], tmp_path: Path) -> None:
    lines = [line["cropped_img"] for line in pair.theirs.ocr(page[1], return_cropped_image=True)]
    path = tmp_path / "line.png"
    Image.fromarray(lines[0]).save(path)
    for form in (lines[0], path, str(path), lines[0][..., 0], lines[0].mean(-1)):
        pair.alike(lambda each, form=form: each.ocr_for_single_line(form))
    for many in (lines, tuple(lines), [path, *lines], [], np.stack([lines[0], lines[0]])):
        for batch in (1, 4):
            expected = pair.theirs.ocr_for_single_lines(many, batch_size=batch)
            alike(pair.ours.ocr_for_single_lines(many, batch_size=batch), expected)


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What is no image."""
    folder = tmp_path_factory.mktemp("bad")
    text, cut = folder / "text.png", folder / "cut.png"
    text.write_text("hello")
    Image.new("RGB", (300, 300), "white").save(cut)
    cut.write_bytes(cut.read_bytes()[:200])
    arrays = [(0, 0, 3), (3,), (30, 30, 4), (30, 30, 2)]
    return [
        "/nope.png", Path("/nope.png"), str(text), text, str(cut), str(folder), "", b"abc", bytearray(b"abc"), None, 3,
        [], [None], ["/nope.png"], {}, *(np.zeros(shape, "u1") for shape in arrays), np.full((20, 20, 3), 255, "u1"),
    ]  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*unclosed file", "ignore:Exception ignored in", "ignore:Mean of empty")
def test_a_mistake_raises_what_cnocr_raises(pair: Pair, naive: Pair, bad: list[Any]) -> None:
    for method in ("ocr", "ocr_for_single_line", "ocr_for_single_lines"):
        for each in (pair, naive):
            for image in bad:
                expected = outcome(lambda: getattr(each.theirs, method)(image))  # noqa: B023
                ours = outcome(lambda: getattr(each.ours, method)(image))  # noqa: B023
                assert ours == expected, (method, image)


CALLS: dict[str, Callable[[Any, Any], Any]] = {
    "no image": lambda ocr, page: ocr.ocr(),
    "an unknown argument": lambda ocr, page: ocr.ocr_for_single_line(page, batch_size=1),
    "a batch of text": lambda ocr, page: ocr.ocr(page, "a"),
    "a shape of text": lambda ocr, page: ocr.ocr(page, resized_shape="x"),
}


@pytest.mark.parametrize("case", CALLS)
def test_a_wrong_call_raises_what_cnocr_raises(pair: Pair, corner: tuple[Any, Path], case: str) -> None:
    image = np.asarray(corner[0])
    pair.alike(lambda each: CALLS[case](each, image))


CONSTRUCTORS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "two names": ((NAME, "x"), {}),
    "no file of the recogniser": ((NAME,), {"rec_model_fp": "nope.onnx"}),
    "no file of the detector": ((NAME,), {"det_model_fp": "nope.onnx"}),
    "an unknown model": (("nope",), {}),
    "an unknown language": ((NAME,), {"rec_lang_type": "klingon"}),
    "a number for a name": ((3,), {}),
}


@pytest.mark.parametrize("case", CONSTRUCTORS)
def test_a_wrong_construction_raises_what_cnocr_raises(pair: Pair, case: str) -> None:
    args, options = CONSTRUCTORS[case]
    given = {**files(), **options}
    expected = outcome(lambda: pair.real(*args, **given))
    assert outcome(lambda: CnOcr(*args, **given)) == expected
    assert isinstance(expected, tuple), "it is no mistake"


def test_what_is_not_carried_says_so_by_name(pair: Pair) -> None:
    assert pair.ours.rec_space == pair.theirs.rec_space
    with pytest.raises(AttributeError, match=r"CnOcr\.det_model is in the host"):
        pair.ours.det_model  # noqa: B018
    with pytest.raises(NotImplementedError, match="rec_more_configs"):
        CnOcr(NAME, rec_more_configs={"engine_cfg": object()})


def test_threads_and_processes_share_one_copy(pair: Pair, page: tuple[pages.Page, Path]) -> None:
    options: dict[str, Any] = {**files(), "det_more_configs": SMALL}
    again = CnOcr(NAME, det_model_name="multi_PP-OCRv6_det_small", context="cpu", **options)
    share_one_copy(pair, again, "ocr", lines_of, page[1])


def test_a_configured_server_gives_the_model_it_lists_and_says_how_to_add_another(
    runtime: str, page: tuple[pages.Page, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHAREDMODEL_ADDRESS", raising=False)
    copied = Path(runtime, "rec.onnx")
    shutil.copy(files()["rec_model_fp"], copied)
    engine = {"engine_cfg": {"intra_op_num_threads": 1}}
    with running_server('[models.reader]\nkind = "cnocr"\nwarm_up = false\n', runtime, ready=False):
        for options in ({}, files(), {**files(), "rec_model_fp": str(copied)}, {"rec_more_configs": engine}):
            ocr = CnOcr(NAME, **options)
            assert ocr._backing.model._name == "reader"
        assert [line["text"] for line in ocr.ocr(page[1])] == list(page[0].lines)
        with pytest.raises(NotPermitted, match='rec_model_name = "multi_PP-OCRv6_small"\ndet_model_name = "naive_det"'):
            CnOcr(NAME, det_model_name="naive_det")


def test_what_its_page_in_the_documentation_says_works(
    server: Server, page: tuple[pages.Page, Path], tmp_path: Path
) -> None:
    page[0].image.save(tmp_path / "page.png")
    assert doc_pages.prints("cnocr", tmp_path) == list(page[0].lines)
