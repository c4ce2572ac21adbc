"""More of the troubles, each from end to end: pools that hang, and pools of which each worker has all models."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

for needed in ("onnxruntime", "torch", "cv2", "PIL", "rapidocr", "transformers", "sentencepiece"):
    pytest.importorskip(needed)

import cv2  # noqa: E402

import scripts.tiny_pose  # noqa: E402
from scripts.demonstration.memory import proportional  # noqa: E402
from scripts.pages import make, write  # noqa: E402
from sharedmodel.client.sapiens import PoseEstimator  # noqa: E402
from sharedmodel.server.models.made import digest, kept, run_maker  # noqa: E402
from tests import translation_models  # noqa: E402
from tests.both import embedded_host, found_host  # noqa: E402
from tests.crowd import ROOT  # noqa: E402
from tests.embedding_models import offline_with_cache  # noqa: E402
from tests.servers import until, watching  # noqa: E402

SOON = 30.0
PHOTOS = 12

# The whole program of somebody with a folder of photographs; it once had multiprocessing.Pool and fork.
POSES = """
import os, sys
from pathlib import Path
from typing import Any
from sharedmodel.client import TaskExecutor
from sharedmodel.client.sapiens import PoseEstimator


def estimate(path, pose):
    return os.getpid(), PoseEstimator(pose).estimate(path).keypoints  # light: made anew for each


if __name__ == "__main__":
    with TaskExecutor(2) as pool:
        paths = sorted(Path(sys.argv[2]).glob("*.png"))
        futures = {path: pool.submit(estimate, str(path), sys.argv[1]) for path in paths}
        for path, future in futures.items():
            worker, keypoints = future.result()
            print(path.name, worker, keypoints.tobytes().hex(), flush=True)
"""


@pytest.fixture(scope="module")
def torchscript() -> Iterator[str]:
    with offline_with_cache(), found_host():
        name = f"tiny-pose-{digest([str(scripts.tiny_pose.__file__)])[:16]}.pt2"
        yield kept(name, lambda path: run_maker("scripts.tiny_pose", "no tiny pose model", "--to", path))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    chance = np.random.default_rng(3)
    for number in range(PHOTOS):
        photo = cv2.resize(chance.integers(0, 256, (6, 8, 3), np.uint8), (320, 240))
        cv2.imwrite(str(tmp_path / f"{number:02}.png"), photo)
    return tmp_path


def estimating(torchscript: str, photos: Path) -> subprocess.Popen[str]:
    program = photos / "poses.py"
    program.write_text(POSES)
    return subprocess.Popen(
        [sys.executable, str(program), torchscript, str(photos)], env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0,
    )  # fmt: skip


def test_a_killed_worker_of_a_pool_that_estimates_poses_costs_no_photograph(torchscript: str, photos: Path) -> None:
    pose = PoseEstimator(torchscript)
    expected = {path.name: pose.estimate(str(path)).keypoints for path in photos.glob("*.png")}
    program = estimating(torchscript, photos)
    assert program.stdout is not None
    first = program.stdout.readline()
    worker = int(first.split()[1])
    with watching(worker) as gone:
        os.kill(worker, signal.SIGKILL)
        assert gone()
    rest = program.stdout.readlines()  # communicate() would miss what was read ahead with the first line
    _, errors = program.communicate(timeout=SOON)
    assert program.returncode == 0, errors
    found = {line.split()[0]: line.split()[2] for line in [first, *rest]}
    assert found == {name: keypoints.tobytes().hex() for name, keypoints in expected.items()}


def test_one_ctrl_c_ends_a_pool_that_estimates_poses(torchscript: str, photos: Path) -> None:
    program = estimating(torchscript, photos)
    assert program.stdout is not None
    program.stdout.readline()
    workers = psutil.Process(program.pid).children(recursive=True)
    start = time.monotonic()
    os.killpg(program.pid, signal.SIGINT)  # as a terminal does
    _, errors = program.communicate(timeout=SOON)
    assert time.monotonic() - start < SOON and errors.count("Traceback") <= 1, errors
    until(lambda: not any(worker.is_running() for worker in workers), lambda: "workers are left")


# -- sixteen workers of a web application ---------------------------------------------------------------------------

# What each worker does as it starts; the three lines that change are those that import.
WORKER = """
import json, sys
if sys.argv[1] == "library":
    from sharedmodel.server.models.hollow import TORCHVISION, hollow
    with hollow(TORCHVISION):
        from cnocr import CnOcr
        from cnstd import CnStd
    from transformers import MarianMTModel, MarianTokenizer
else:
    from sharedmodel.client.cnocr import CnOcr
    from sharedmodel.client.cnstd import CnStd
    from sharedmodel.client.transformers import MarianMTModel, MarianTokenizer
page, marian, rec, det = sys.argv[2:]
small = {"limit_side_len": 64}  # the page is not enlarged: that takes seconds
ocr = CnOcr("multi_PP-OCRv6_small", rec_model_fp=rec, det_model_fp=det, det_more_configs=small)
std = CnStd("multi_PP-OCRv6_det_small", model_fp=det, model_backend="onnx", **small)
tokenizer, model = MarianTokenizer.from_pretrained(marian), MarianMTModel.from_pretrained(marian)
form = "pt" if sys.argv[1] == "library" else "np"
ids = model.generate(**tokenizer(["the cat sees a dog ."], return_tensors=form))
lines = [line["text"] for line in ocr.ocr(page)]
boxes = [text["box"].tolist() for text in std.detect(page)["detected_texts"]]
print(json.dumps([lines, boxes, tokenizer.batch_decode(ids, skip_special_tokens=True)]), flush=True)
sys.stdin.read()
"""
WORKERS = 16


def workers(count: int, whose: str, page: Path) -> tuple[list[Any], int]:
    """What so many workers found, and the memory that they take together (PSS), with what serves them."""
    import rapidocr

    models = Path(rapidocr.__file__).parent / "models"
    files = [str(models / name) for name in ("PP-OCRv6_rec_small.onnx", "PP-OCRv6_det_small.onnx")]
    command = [sys.executable, "-c", WORKER, whose, str(page), translation_models.folder(), *files]
    with embedded_host() as server:
        environment = {**os.environ, "SHAREDMODEL_ADDRESS": server.address, "PYTHONPATH": str(ROOT)}
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        programs = [subprocess.Popen(command, env=environment, **pipes) for _ in range(count)]
        found = [json.loads(program.stdout.readline()) for program in programs if program.stdout is not None]
        pids = [program.pid for program in programs]
        if whose != "library":
            supervisor = psutil.Process(server.process.pid)
            pids += [supervisor.pid, *(child.pid for child in supervisor.children(recursive=True))]
        memory = proportional(pids)
        for program in programs:
            program.communicate()
    return found, memory


@pytest.mark.alone
def test_sixteen_workers_share_ocr_detection_and_translation(tmp_path: Path) -> None:
    (page,) = write(make(1, seed=5, lines=1), tmp_path)
    with offline_with_cache():
        (expected,), one = workers(1, "library", page)
        found, all_of_them = workers(WORKERS, "ours", page)
    assert len(expected[0]) == 1 and expected[1] and expected[2]
    assert found == [expected] * WORKERS
    assert all_of_them < WORKERS * one / 5, (all_of_them, one)
