"""The OCR adapter against CnOcr called in process on the same images: equal in every value."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

for needed in ("onnxruntime", "rapidocr", "torch", "PIL"):
    pytest.importorskip(needed)

from PIL import Image, UnidentifiedImageError  # noqa: E402

from scripts import pages  # noqa: E402
from sharedmodel.server.canary import fingerprint  # noqa: E402
from sharedmodel.server.models import lending  # noqa: E402
from sharedmodel.server.models.cnocr import CnOcrModel  # noqa: E402
from sharedmodel.server.models.hollow import TORCHVISION, hollow  # noqa: E402
from tests.ocr_pages import SMALL, corner_of, one_page  # noqa: E402

pytestmark = pytest.mark.xdist_group("cnocr")  # the models are loaded once


@pytest.fixture(scope="module")
def model() -> CnOcrModel:
    return CnOcrModel(threads=1, det_more_configs=SMALL)


@pytest.fixture(scope="module")
def theirs() -> Any:
    """CnOcr as its documentation calls it."""
    import rapidocr

    with hollow(TORCHVISION):
        from cnocr import CnOcr
    models = Path(rapidocr.__file__).parent / "models"
    engine = {"engine_cfg": {"intra_op_num_threads": 1, "inter_op_num_threads": 1}}
    return CnOcr(
        "multi_PP-OCRv6_small",
        rec_model_fp=str(models / "PP-OCRv6_rec_small.onnx"),
        rec_more_configs=dict(engine),
        det_model_name="multi_PP-OCRv6_det_small",
        det_model_fp=str(models / "PP-OCRv6_det_small.onnx"),
        det_more_configs=engine | SMALL,
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[pages.Page, Path]:
    return one_page(tmp_path_factory.mktemp("pages"), 4, seed=11)


@pytest.fixture(scope="module")
def corner(page: tuple[pages.Page, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    return corner_of(page[0], tmp_path_factory.mktemp("corner"))


def equal(ours: Any, expected: Any) -> bool:
    assert type(ours) is type(expected)
    if isinstance(expected, list):
        return len(ours) == len(expected) and all(map(equal, ours, expected))
    if isinstance(expected, dict):
        return list(ours) == list(expected) and all(equal(ours[k], expected[k]) for k in expected)
    if isinstance(expected, np.ndarray):
        return bool(ours.dtype == expected.dtype and np.array_equal(ours, expected))
    return bool(ours == expected)


def test_its_canary_is_read_and_is_read_the_same_again(model: CnOcrModel) -> None:
    canary = model.canary()
    lines = [getattr(model, canary["method"])(*canary["args"]) for _ in range(2)]
    assert any("0123" in line["text"] for line in lines[0])
    assert fingerprint(lines[0]) == fingerprint(lines[1]) is not None


def test_a_page_is_read_as_it_was_written(model: CnOcrModel, page: tuple[pages.Page, Path]) -> None:
    found = model.ocr(page[1].read_bytes())
    assert [line["text"] for line in found] == list(page[0].lines)


OPTIONS: list[dict[str, Any]] = [
    {},
    {"return_cropped_image": True},
    {"rec_batch_size": 3},
    {"resized_shape": (512, 512), "min_box_size": 4, "box_score_thresh": 0.5},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_an_array_and_a_file_give_what_cnocr_gives(
    model: CnOcrModel, theirs: Any, corner: tuple[Any, Path], options: dict[str, Any]
) -> None:
    image, path = corner
    expected = theirs.ocr(str(path), **options)
    assert expected
    array = np.asarray(image)
    array.flags.writeable = False  # as the host hands inputs to a model
    for img in (array, path.read_bytes(), memoryview(path.read_bytes())):
        assert equal(model.ocr(img, **options), expected)
    assert equal(model.ocr(np.frombuffer(path.read_bytes(), np.uint8), **options), expected)


def turned(image: Image.Image) -> bytes:
    """A photograph that lies on its side and says so in its EXIF data."""
    exif, stream = Image.Exif(), BytesIO()
    exif[0x0112] = 6
    image.rotate(90, expand=True).save(stream, "JPEG", exif=exif.tobytes(), quality=95)
    return stream.getvalue()


def encoded(image: Image.Image, kind: str) -> bytes:
    stream = BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


FILES: dict[str, Callable[[Image.Image], bytes]] = {
    "jpeg": lambda image: encoded(image, "JPEG"),
    "turned jpeg": turned,
    "gray png": lambda image: encoded(image.convert("L"), "PNG"),
    "transparent png": lambda image: encoded(image.convert("RGBA"), "PNG"),
    "palette gif": lambda image: encoded(image.convert("P"), "GIF"),
    "one bit tiff": lambda image: encoded(image.convert("1"), "TIFF"),
}


@pytest.mark.filterwarnings("ignore:.*unclosed file", "ignore:Exception ignored in")  # CnOcr's
@pytest.mark.parametrize("kind", FILES)
def test_every_kind_of_image_file_is_decoded_as_cnocr_does(
    model: CnOcrModel, theirs: Any, corner: tuple[Any, Path], tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "image"
    path.write_bytes(FILES[kind](corner[0]))
    assert equal(model.ocr(path.read_bytes()), theirs.ocr(str(path)))


def test_single_lines_give_what_cnocr_gives(
    model: CnOcrModel, theirs: Any, page: tuple[pages.Page, Path], tmp_path: Path
) -> None:
    found = theirs.ocr(str(page[1]), return_cropped_image=True)
    lines = [line["cropped_img"] for line in found]
    path = tmp_path / "line.png"
    Image.fromarray(lines[0]).save(path)
    assert equal(model.ocr_for_single_line(lines[0]), theirs.ocr_for_single_line(lines[0]))
    expected = theirs.ocr_for_single_line(str(path))
    assert equal(model.ocr_for_single_line(path.read_bytes()), expected)
    for batch in (1, 4):
        ours = model.ocr_for_single_lines(lines, batch_size=batch)
        assert equal(ours, theirs.ocr_for_single_lines(lines, batch_size=batch))
    assert model.ocr_for_single_lines([]) == []


def test_an_empty_page_has_no_lines(model: CnOcrModel, theirs: Any) -> None:
    blank = np.full((200, 300, 3), 255, np.uint8)
    assert model.ocr(blank) == theirs.ocr(blank) == []


def test_many_threads_read_at_once_and_don_t_disturb_each_other(
    model: CnOcrModel, theirs: Any, page: tuple[pages.Page, Path]
) -> None:
    array = np.asarray(page[0].image)
    expected = {size: theirs.ocr(array, rec_batch_size=size) for size in (1, 2, 4)}
    sizes = [1, 2, 4] * 4
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda size: model.ocr(array, rec_batch_size=size), sizes))
    assert all(equal(ours, expected[size]) for ours, size in zip(found, sizes, strict=True))


def test_the_detector_may_be_left_out(theirs: Any, page: tuple[pages.Page, Path]) -> None:
    model = CnOcrModel(det_model_name="naive_det", warm_up=False)
    found = model.ocr(page[1].read_bytes())
    assert len(found) == 4 and "position" not in found[0]


def test_what_is_no_image_is_refused_with_the_reason(model: CnOcrModel) -> None:
    with pytest.raises(UnidentifiedImageError, match="no image"):
        model.ocr(b"nonsense")
    with pytest.raises(TypeError, match="a path is opened by the caller"):
        model.ocr("page.png")  # type: ignore[arg-type]


def test_a_page_can_be_cancelled_while_it_is_read(
    model: CnOcrModel, page: tuple[pages.Page, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def soon(callback: Callable[[], None]) -> Iterator[None]:
        timer = threading.Timer(0.05, callback)
        timer.start()
        yield
        timer.join()

    array = np.asarray(page[0].image)
    expected = model.ocr(array)
    with monkeypatch.context() as patched:
        patched.setattr(lending, "on_cancel", soon)
        with pytest.raises(Exception, match=r"cancelled|terminate flag"):
            model.ocr(array)
    assert equal(model.ocr(array), expected)


def test_nothing_hollow_is_left_behind_or_seen_by_anybody_else() -> None:
    with hollow("calendar_of_nobody"):
        there = {"__name__": "cnstd.somewhere"}
        exec("import calendar_of_nobody.days as days\nfrom calendar_of_nobody import weeks\nweeks('long').first", there)
        with pytest.raises(ModuleNotFoundError):
            exec("import calendar_of_nobody", {"__name__": "somebody.else"})
    with pytest.raises(ModuleNotFoundError):
        exec("import calendar_of_nobody", there)


def test_a_closed_model_says_so() -> None:
    model = CnOcrModel(warm_up=False)
    model.close()
    model.close()
    with pytest.raises(RuntimeError, match="closed"):
        model.ocr(np.zeros((9, 9, 3), np.uint8))
