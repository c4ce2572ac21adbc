"""More of the troubles, each from end to end: pools that hang, and pools of which each worker has all models."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

for needed in ("onnxruntime", "torch", "cv2", "PIL"):
    pytest.importorskip(needed)

import cv2  # noqa: E402

import scripts.tiny_pose  # noqa: E402
from sharedmodel.client.sapiens import PoseEstimator  # noqa: E402
from sharedmodel.server.models.made import digest, kept, run_maker  # noqa: E402
from tests.both import embedded_host  # noqa: E402
from tests.crowd import ROOT  # noqa: E402
from tests.embedding_models import offline_with_cache  # noqa: E402
from tests.servers import until, watching  # noqa: E402

SOON = 30.0
PHOTOS = 12

# The whole program of somebody with a folder of photographs; it once had multiprocessing.Pool and fork.
POSES = """
import os, sys
from pathlib import Path
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
    with offline_with_cache(), embedded_host() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHAREDMODEL_ADDRESS", server.address)
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
    rest, errors = program.communicate(timeout=SOON)
    assert program.returncode == 0, errors
    found = {line.split()[0]: line.split()[2] for line in [first, *rest.splitlines()]}
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
