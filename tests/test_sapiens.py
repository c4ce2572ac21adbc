"""Pose estimation through a host: where the keypoints are, to 1e-3 of a pixel, by a decoding written anew here."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

for needed in ("onnxruntime", "onnx", "torch", "cv2", "PIL"):
    pytest.importorskip(needed)

import cv2  # noqa: E402
from PIL import Image  # noqa: E402

import scripts.tiny_pose  # noqa: E402
from sharedmodel.client.sapiens import PoseEstimator, Poses  # noqa: E402
from sharedmodel.client.sapiens.decoding import keypoints_of  # noqa: E402
from sharedmodel.client.sapiens.pictures import Frame  # noqa: E402
from sharedmodel.errors import BadArgument, NotPermitted  # noqa: E402
from sharedmodel.server.models.made import digest, kept, run_maker  # noqa: E402
from sharedmodel.server.models.pose_export import exported  # noqa: E402
from sharedmodel.server.models.sapiens import SapiensModel  # noqa: E402
from tests import doc_pages, onnx_graphs  # noqa: E402
from tests.both import found_host  # noqa: E402
from tests.embedding_models import offline_with_cache  # noqa: E402
from tests.m3_models import loads_torch  # noqa: E402
from tests.servers import Server, running_server  # noqa: E402
from tests.standin_workers import poses_of  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")

PIXELS = 1e-3
BOXES = [[40, 10, 300, 220], [-20, 30.5, 130, 400], [200, 100, 260, 118]]


@pytest.fixture(scope="module")
def model() -> Iterator[str]:
    """A torchscript."""
    with offline_with_cache():
        name = f"tiny-pose-{digest([str(scripts.tiny_pose.__file__)])[:16]}.pt2"
        yield kept(name, lambda path: run_maker("scripts.tiny_pose", "no tiny pose model", "--to", path))


@pytest.fixture(scope="module")
def server(model: str) -> Iterator[Server]:
    with found_host() as server:
        yield server


@pytest.fixture(scope="module")
def pose(server: Server, model: str) -> PoseEstimator:
    return PoseEstimator(model)


@pytest.fixture(scope="module")
def photo() -> Any:
    """(240, 320, 3), light and dark, in BGR."""
    chance = np.random.default_rng(3)
    return cv2.resize(chance.integers(0, 256, (6, 8, 3), np.uint8), (320, 240), interpolation=cv2.INTER_CUBIC)


# -- the same, written anew from its description ---------------------------------------------------------------


def by_hand(model: str, photo: Any, boxes: Any) -> Poses:
    import torch

    module = torch.jit.load(model)
    height, width = photo.shape[:2]
    places, scores = [], []
    for left, top, right, bottom in [[0, 0, width, height]] if boxes is None else boxes:
        size = np.array([right - left, bottom - top], float) * 1.25
        size = np.maximum(size, size[::-1] * [width / height, height / width])
        corner = np.array([left + right, top + bottom]) / 2 - size / 2
        zoom = (np.array([width, height]) - 1) / size
        matrix = np.hstack([np.diag(zoom), -(zoom * corner)[:, None]])
        seen = cv2.resize(cv2.warpAffine(photo, matrix, (width, height)), (768, 1024))[..., ::-1]
        images = ((seen - np.array([123.5, 116.5, 103.5])) / [58.5, 57, 57.5]).transpose(2, 0, 1)
        with torch.inference_mode():
            heatmaps = module(torch.from_numpy(images[None].astype("f4")))[0].numpy().astype("f8")
        found = np.array([decoded(heatmap) for heatmap in heatmaps])
        places.append(found[:, :2] / (191, 255) * size + corner)
        scores.append(found[:, 2])
    return Poses(np.array(places), np.array(scores))


def decoded(heatmap: Any) -> list[float]:
    """x, y and score in a heat map."""
    score = heatmap.max()
    y, x = divmod(int(heatmap.argmax()), heatmap.shape[1])
    bell = np.exp(-(np.arange(-5, 6) ** 2) / 8)
    bell /= bell.sum()
    wide = np.pad(heatmap, 5)
    wide = sum(weight * wide[shift : shift + heatmap.shape[0]] for shift, weight in enumerate(bell))
    smooth = sum(weight * wide[:, shift : shift + heatmap.shape[1]] for shift, weight in enumerate(bell))
    logs = np.pad(np.log(np.clip(smooth * score / smooth.max(), 1e-3, 50)), 1, "edge")
    at = lambda across, down: logs[y + 1 + down, x + 1 + across]  # noqa: E731
    slope = np.array([at(1, 0) - at(-1, 0), at(0, 1) - at(0, -1)]) / 2
    mixed = (at(1, 1) - at(1, 0) - at(0, 1) + 2 * at(0, 0) - at(-1, 0) - at(0, -1) + at(-1, -1)) / 2
    bend = np.array(
        [[at(1, 0) - 2 * at(0, 0) + at(-1, 0), mixed], [mixed, at(0, 1) - 2 * at(0, 0) + at(0, -1)]]
    ) + np.finfo("f4").eps * np.eye(2)
    return [*(np.array([x, y]) - np.linalg.inv(bend) @ slope), score]


def near(found: Poses, expected: Poses) -> None:
    assert found.keypoints.dtype == found.scores.dtype == np.float32
    np.testing.assert_allclose(found.keypoints, expected.keypoints, atol=PIXELS, rtol=0)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5, rtol=0)


# -- through the host ------------------------------------------------------------------------------------------


def test_keypoints_of_boxes_and_of_the_whole_picture_are_where_they_are(
    pose: PoseEstimator, server: Server, model: str, photo: Any
) -> None:
    expected = by_hand(model, photo, BOXES)
    found = pose.estimate(photo, BOXES)
    assert found.keypoints.shape == (3, 133, 2) and found.scores.shape == (3, 133)
    near(found, expected)
    near(pose(photo), by_hand(model, photo, None))
    assert not loads_torch(server.host_pid)  # though the graph was made for it


def test_every_form_of_a_picture_and_of_boxes_gives_the_same(pose: PoseEstimator, photo: Any, tmp_path: Path) -> None:
    expected = pose.estimate(photo, BOXES[:2])
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), photo)
    pillow = Image.fromarray(photo[..., ::-1].copy())
    for form in (path, str(path), pillow, photo[:, ::-1].copy()[:, ::-1]):
        near(pose.estimate(form, np.array(BOXES[:2])), expected)
    together = pickle.loads(pickle.dumps(pose))
    together.batch_size = 2
    near(together.estimate(photo, BOXES[:2]), expected)
    assert pose.estimate(photo, []).keypoints.shape == (0, 133, 2)


def test_heat_maps_are_not_copied_on_their_way(pose: PoseEstimator, photo: Any) -> None:
    found = pose._heatmaps(photo, [Frame(np.array([160.0, 120.0]), np.array([320.0, 240.0]))])
    assert found.shape == (1, 133, 256, 192) and not found.flags.owndata


def test_another_process_gives_the_same_and_loads_no_library_for_it(pose: PoseEstimator, photo: Any) -> None:
    expected = pose.estimate(photo, BOXES[:1])
    assert len(pickle.dumps(pose)) < 2000
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        found, heavy = pool.submit(poses_of, pose, photo, BOXES[:1]).result()
    near(found, expected)
    assert not heavy


def test_a_configured_server_finds_its_model_by_content_and_a_killed_host_costs_no_pose(
    pose: PoseEstimator, model: str, photo: Any, runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHAREDMODEL_ADDRESS", raising=False)
    copied = Path(runtime, "copied.pt2")
    shutil.copy(model, copied)
    with running_server(f'[models.pose]\nkind = "sapiens"\npath = "{model}"\n', runtime) as server:
        own = PoseEstimator(copied)
        assert own._backing.model._name == "pose"
        with pytest.raises(NotPermitted, match="height = 512"):
            PoseEstimator(copied, height=512)
        server.kill_host()
        near(own.estimate(photo), pose.estimate(photo))


def test_a_graph_is_taken_as_it_is(server: Server, pose: PoseEstimator, model: str, photo: Any) -> None:
    near(PoseEstimator(exported(model, 1024, 768)).estimate(photo), pose.estimate(photo))


def test_what_its_page_in_the_documentation_says_works(server: Server, model: str, photo: Any, tmp_path: Path) -> None:
    (tmp_path / "pose.pt2").symlink_to(model)
    cv2.imwrite(str(tmp_path / "photo.jpg"), photo)
    assert doc_pages.prints("sapiens", tmp_path) == ["(2, 133, 2) (2, 133)", "(1, 133, 2)"]


MISTAKES: dict[str, tuple[Callable[[Any, Any], Any], type[Exception], str]] = {
    "none": (lambda pose, photo: pose.estimate(None), TypeError, "not NoneType"),
    "no file": (lambda pose, photo: pose.estimate("/nope.png"), FileNotFoundError, "no such file: /nope.png"),
    "a folder": (lambda pose, photo: pose.estimate("/tmp"), FileNotFoundError, "no such file"),
    "text": (lambda pose, photo: pose.estimate(__file__), ValueError, "no picture that OpenCV can read"),
    "no pixel": (lambda pose, photo: pose.estimate(photo[:0]), ValueError, r"not \(0, 320, 3\)"),
    "gray": (lambda pose, photo: pose.estimate(photo[..., 0]), ValueError, r"\(240, 320\) of uint8"),
    "floats": (lambda pose, photo: pose.estimate(photo / 255), ValueError, "of float64"),
    "one box": (lambda pose, photo: pose.estimate(photo, BOXES[0]), ValueError, r"not \(4,\)"),
    "no size": (lambda pose, photo: pose.estimate(photo, [[9, 9, 9, 20]]), ValueError, "x1 < x2"),
    "nowhere": (lambda pose, photo: pose.estimate(photo, [[0, 0, np.nan, 9]]), ValueError, "no box"),
    "words": (lambda pose, photo: pose.estimate(photo, "box"), ValueError, "could not convert"),
    "no model": (lambda pose, photo: PoseEstimator("/nope.pt2"), FileNotFoundError, "nope.pt2"),
    "a number": (lambda pose, photo: PoseEstimator(3), TypeError, "not int"),  # type: ignore[arg-type]
    "no batch": (lambda pose, photo: PoseEstimator(__file__, batch_size=0), ValueError, "1 or more"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_says_what_is_wrong(pose: PoseEstimator, photo: Any, case: str) -> None:
    call, kind, words = MISTAKES[case]
    with pytest.raises(kind, match=words):
        call(pose, photo)


# -- without a host --------------------------------------------------------------------------------------------

WHOLE = Frame(np.array([96.0, 128.0]), np.array([191.0, 255.0]))  # a pixel of it is one of the heat map


def hill(x: float, y: float, high: float = 0.7, wide: float = 2.0, slant: float = 0.0) -> Any:
    down, across = np.mgrid[:256, :192]
    across, down = across - x, down - y
    return (high * np.exp(-(across**2 + down**2 + slant * across * down) / (2 * wide**2))).astype("f4")


def test_the_top_of_a_hill_is_found_between_pixels() -> None:
    tops = np.array([[50.3, 70.8], [96.0, 128.0], [120.49, 33.51], [17.25, 240.0]])
    found, scores = keypoints_of(np.stack([hill(*top) for top in tops]), WHOLE)
    np.testing.assert_allclose(found, tops + np.array([0.5, 0.5]), atol=1e-4)
    assert scores == pytest.approx(0.7, abs=0.05)


def test_any_heat_map_is_decoded_as_its_description_says() -> None:
    maps = [
        hill(50.3, 70.8, slant=0.9), hill(0, 0), hill(191, 255), hill(190.6, 0.2, slant=-0.5), hill(7, 9, high=70),
        np.maximum(hill(40, 40, 0.6, 3), hill(46, 43, 0.5, 2)), hill(90, 90, 0.004, 1), hill(80.4, 9, wide=9) - 0.1,
    ]  # fmt: skip
    found, scores = keypoints_of(np.stack(maps), WHOLE)
    expected = np.array([decoded(each.astype("f8")) for each in maps])
    np.testing.assert_allclose(found, expected[:, :2] + np.array([0.5, 0.5]), atol=PIXELS)
    np.testing.assert_allclose(scores, expected[:, 2], rtol=1e-6)


def test_what_is_nowhere_has_no_place() -> None:
    alone = np.full((256, 192), -1, "f4")
    alone[5, 7] = 1e-6  # nothing is left of it when the map is smoothed
    found, scores = keypoints_of(np.stack([np.zeros((256, 192), "f4"), hill(9, 9) - 1, alone]), WHOLE)
    assert found.tolist() == [[-1, -1], [-1, -1], [7.5, 5.5]]
    assert scores[0] == 0 and scores[1] < 0


def test_what_is_no_pose_model_says_so(tmp_path: Path) -> None:
    path = tmp_path / "add.onnx"
    path.write_bytes(onnx_graphs.add())
    with pytest.raises(ValueError, match="no pose model: it takes"):
        SapiensModel(str(path))
    with pytest.raises(FileNotFoundError):
        SapiensModel(str(tmp_path / "nope"))
    with pytest.raises(BadArgument, match="numbers of pixels"):
        SapiensModel(str(path), height=0)


def test_a_graph_for_one_image_takes_one_at_a_time_and_one_for_two_is_refused(tmp_path: Path) -> None:
    for rows in (1, 2):
        path = tmp_path / f"{rows}.onnx"
        path.write_bytes(onnx_graphs.identity((rows, 3, 8, 6)))
        if rows == 2:
            with pytest.raises(ValueError, match="takes 2 images at once"):
                SapiensModel(str(path))
            continue
        model = SapiensModel(str(path))
        assert model.card() == {"image": [8, 6], "heatmap": [8, 6], "keypoints": 3, "rows": 1}
        model.shrink()
        model.close()
