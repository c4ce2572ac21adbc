"""Pose estimation by Sapiens' models, which are in the host, shared by all who ask for the same.

    from sharedmodel.client.sapiens import PoseEstimator

    pose = PoseEstimator("sapiens_0.3b_coco_wholebody_torchscript.pt2")
    found = pose.estimate("photo.jpg", boxes=[[40, 10, 300, 620]])
    print(found.keypoints.shape, found.scores.shape)  # (1, 133, 2) (1, 133)

A model is a torchscript or an ONNX file of heat maps. Pictures are read, cut and scaled here, and keypoints are
found in the heat maps here, with numpy and OpenCV, which is imported at the first call: this scales with the
callers, and keeps the host free for the graph. Images and heat maps lie in shared memory. An object is light: it
pickles by reference, works after a fork, and may be used by any number of threads and processes.
"""

from __future__ import annotations

import sys
from typing import Any

if sys.platform != "linux":
    raise ImportError(f"a host needs Linux, and this is {sys.platform}; there is no library to fall back on")

from .pose_estimator import PoseEstimator, Poses

__all__ = ["PoseEstimator", "Poses"]


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    raise AttributeError(f"sapiens.{name} is not part of this stand-in; it has: {', '.join(__all__)}")
