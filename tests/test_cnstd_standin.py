"""`sharedmodel.client.cnstd` against CnStd in the same process: equal in every value, and in every mistake."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

for needed in ("onnxruntime", "rapidocr", "torch", "PIL"):
    pytest.importorskip(needed)

from PIL import Image  # noqa: E402

from scripts import pages  # noqa: E402
from sharedmodel.client import connect  # noqa: E402
from sharedmodel.client.cnstd import CnStd  # noqa: E402
from sharedmodel.errors import NotPermitted  # noqa: E402
from sharedmodel.server.models import lending, rapid  # noqa: E402
from sharedmodel.server.models.cnstd import CnStdModel  # noqa: E402
from sharedmodel.server.models.hollow import TORCHVISION, hollow  # noqa: E402
from tests import both, doc_pages  # noqa: E402
from tests.both import alike, found_host, outcome  # noqa: E402
from tests.ocr_pages import SMALL, one_page, share_one_copy  # noqa: E402
from tests.servers import Server, running_server  # noqa: E402
from tests.standin_workers import boxes_of  # noqa: E402

pytestmark = pytest.mark.xdist_group("cnocr")  # the library is imported once

NAME = "multi_PP-OCRv6_det_small"
OLDER = "ch_PP-OCRv3_det"  # by its name, CnStd runs a file with other code


def files() -> tuple[str, str]:
    """A detector and a classifier."""
    import rapidocr

    models = Path(rapidocr.__file__).parent / "models"
    return str(models / "PP-OCRv6_det_small.onnx"), str(models / "ch_ppocr_mobile_v2.0_cls_mobile.onnx")


class Pair(both.Pair):
    """CnStd and its stand-in, made with the same arguments."""

    same = staticmethod(alike)

    def __init__(self, name: str = NAME, **options: Any) -> None:
        with hollow(TORCHVISION):
            from cnstd import CnStd as Real
        self.real, given = Real, {"model_fp": files()[0], **SMALL, **options}
        self.ours, self.theirs = CnStd(name, **given), Real(name, **given)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with found_host() as server:
        yield server


@pytest.fixture(scope="module")
def pair(server: Server) -> Pair:
    return Pair()


@pytest.fixture(scope="module")
def turning(server: Server) -> Pair:
    return Pair(use_angle_clf=True, angle_clf_configs={"model_fp": files()[1]}, unclip_ratio=2.0)


@pytest.fixture(scope="module")
def older(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    onnx = pytest.importorskip("onnx")
    model, path = onnx.load(files()[0]), tmp_path_factory.mktemp("older") / "det.onnx"
    for dimension in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dimension.Clear()  # the older code knows nothing of their names
    onnx.save(model, path)
    return Pair(OLDER, model_fp=str(path))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[pages.Page, Path]:
    return one_page(tmp_path_factory.mktemp("pages"), 2)


def forms(page: tuple[pages.Page, Path]) -> dict[str, Any]:
    import torch

    image = page[0].image
    array = np.asarray(image)
    return {
        "a path": page[1],
        "its name": str(page[1]),
        "a PIL image": image,
        "a PIL image with transparency": image.convert("RGBA"),
        "a gray PIL image": image.convert("L"),
        "a gray array": np.asarray(image.convert("L")),
        "floats": array.astype("f4"),
        "an upside-down view": array[::-1, ::-1],
        "several": [page[1], image, array],
        "a tuple of one": (array,),
        "none of them": [],
        "a torch tensor": torch.from_numpy(array.copy()),
        "bytes": page[1].read_bytes(),
    }


OF_OLDER = ("a path", "a PIL image with transparency", "floats", "a torch tensor")


def test_every_form_of_an_image_gives_what_cnstd_gives(pair: Pair, older: Pair, page: tuple[pages.Page, Path]) -> None:
    assert len(pair.theirs.detect(page[1])["detected_texts"]) == 2
    for name, form in forms(page).items():
        for each in (pair, older) if name in OF_OLDER else (pair,):
            expected = outcome(lambda each=each, form=form: each.theirs.detect(form))
            alike((name, outcome(lambda each=each, form=form: each.ours.detect(form))), (name, expected))


def test_options_go_with_each_call(older: Pair, pair: Pair, page: tuple[pages.Page, Path]) -> None:
    options = {"resized_shape": (96, 512), "preserve_aspect_ratio": False, "min_box_size": 30, "unknown": 3}
    for each in (older, pair):
        expected = each.theirs.detect(page[1], box_score_thresh=0.5, **options)
        alike(each.ours.detect(page[1], box_score_thresh=0.5, **options), expected)


def test_what_lies_upside_down_is_turned_as_cnstd_turns_it(turning: Pair, page: tuple[pages.Page, Path]) -> None:
    over = page[0].image.rotate(180)
    alike(turning.ours.detect([over, page[1]]), expected := turning.theirs.detect([over, page[1]]))
    plain = turning.theirs.det_model.detect([over])[0]["detected_texts"]
    assert any(
        not np.array_equal(one["cropped_img"], other["cropped_img"])
        for one, other in zip(expected[0]["detected_texts"], plain, strict=True)
    )
    assert turning.ours.use_angle_clf is True


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What is no image."""
    folder = tmp_path_factory.mktemp("bad")
    text, cut, huge = folder / "text.png", folder / "cut.png", folder / "huge.png"
    text.write_text("hello")
    Image.new("RGB", (300, 300), "white").save(cut)
    cut.write_bytes(cut.read_bytes()[:200])
    Image.new("1", (20000, 20000)).save(huge)
    arrays = [(0, 0, 3), (3,), (30, 30, 4), (30, 30, 2)]
    zeros = [np.zeros(shape, "u1") for shape in arrays]
    return [
        "/nope.png", Path("/nope.png"), str(text), text, str(cut), huge, str(folder), "", b"abc", bytearray(b"abc"),
        None, 3, [None], ["/nope.png"], [zeros[0], "/nope.png"], {}, *zeros, np.full((20, 20, 3), 255, "u1"),
    ]  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*unclosed file", "ignore:Exception ignored in", "ignore:invalid value")
def test_a_mistake_raises_what_cnstd_raises(pair: Pair, bad: list[Any]) -> None:
    for image in bad:
        expected = outcome(lambda: pair.theirs.detect(image))  # noqa: B023
        alike((repr(image), outcome(lambda: pair.ours.detect(image))), (repr(image), expected))  # noqa: B023


CALLS: dict[str, Callable[[Any, Any], Any]] = {
    "no image": lambda std, page: std.detect(),
    "a shape of text": lambda std, page: std.detect(page, resized_shape="x"),
    "a shape of text and no image": lambda std, page: std.detect([], resized_shape="x"),
    "a shape of text and no file": lambda std, page: std.detect("/nope", resized_shape=None),
}


@pytest.mark.parametrize("case", CALLS)
def test_a_wrong_call_raises_what_cnstd_raises(pair: Pair, page: tuple[pages.Page, Path], case: str) -> None:
    image = np.asarray(page[0].image)
    pair.alike(lambda each: CALLS[case](each, image))


CONSTRUCTORS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "two names": ((NAME, "x"), {}),
    "no such file": ((NAME,), {"model_fp": "nope.onnx"}),
    "no file of the classifier": ((NAME,), {"use_angle_clf": True, "angle_clf_configs": {"model_fp": "nope.onnx"}}),
    "an unknown model": (("nope",), {}),
    "an unknown language": ((NAME,), {"lang_type": "klingon"}),
}


@pytest.mark.parametrize("case", CONSTRUCTORS)
def test_a_wrong_construction_raises_what_cnstd_raises(pair: Pair, case: str) -> None:
    args, options = CONSTRUCTORS[case]
    given = {"model_fp": files()[0], **options}
    expected = outcome(lambda: pair.real(*args, **given))
    assert outcome(lambda: CnStd(*args, **given)) == expected
    assert isinstance(expected, tuple), "it is no mistake"


def test_what_is_not_carried_says_so_by_name(pair: Pair) -> None:
    assert pair.ours.space == pair.theirs.space
    with pytest.raises(AttributeError, match=r"CnStd\.det_model is in the host"):
        pair.ours.det_model  # noqa: B018
    with pytest.raises(NotImplementedError, match="engine_cfg"):
        CnStd(NAME, engine_cfg={"a": object()})
    with pytest.raises(ImportError, match="LayoutAnalyzer"):
        from sharedmodel.client.cnstd import LayoutAnalyzer  # noqa: F401


def test_threads_and_processes_share_one_copy(pair: Pair, page: tuple[pages.Page, Path]) -> None:
    again = CnStd(NAME, rotated_bbox=True, context="cpu", model_fp=files()[0], use_angle_clf=False, **SMALL)
    share_one_copy(pair, again, "detect", boxes_of, page[1])


def test_what_its_page_in_the_documentation_says_works(
    server: Server, page: tuple[pages.Page, Path], tmp_path: Path
) -> None:
    page[0].image.crop((0, 0, 300, 208)).save(tmp_path / "page.png")
    found = doc_pages.prints("cnstd", tmp_path)
    assert len(found) == 2 and found[0].startswith("[[")


def test_a_configured_server_gives_the_model_it_lists_and_says_how_to_add_another(
    runtime: str, page: tuple[pages.Page, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHAREDMODEL_ADDRESS", raising=False)
    copied = Path(runtime, "cls.onnx")
    shutil.copy(files()[1], copied)
    turning = {"use_angle_clf": True, "angle_clf_configs": {"model_fp": str(copied)}}
    config = '[models.finder]\nkind = "cnstd"\nuse_angle_clf = true\nwarm_up = false\nlimit_side_len = 64\n'
    with running_server(config, runtime, ready=False):
        for options in (turning, {"use_angle_clf": True, "model_fp": files()[0]}):
            std = CnStd(NAME, **SMALL, **options)
            assert std._backing.model._name == "finder"
        assert len(std.detect(page[1])["detected_texts"]) == 2
        with connect() as host:  # without a stand-in: the file is read here
            assert len(host.model("finder").detect(str(page[1]))["detected_texts"]) == 2
        with pytest.raises(NotPermitted, match=f'kind = "cnstd"\nmodel_name = "{NAME}"'):
            CnStd(NAME)


def test_a_page_can_be_cancelled_and_a_closed_model_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def soon(callback: Callable[[], None]) -> Iterator[None]:
        callback()
        yield

    model = CnStdModel(use_angle_clf=True, warm_up=False, **SMALL)
    page = rapid.warm_up_page()
    expected = model.detect(page)
    with monkeypatch.context() as patched:
        patched.setattr(lending, "on_cancel", soon)
        with pytest.raises(Exception, match=r"cancelled|terminate flag"):
            model.detect(page)
    alike(model.detect([page])[0], expected)
    assert len(expected["detected_texts"]) == 2
    with pytest.raises(TypeError, match="a path is opened by the caller"):
        model.detect("page.png")  # type: ignore[arg-type]
    model.close()
    model.close()
    with pytest.raises(RuntimeError, match="closed"):
        model.detect(page)
