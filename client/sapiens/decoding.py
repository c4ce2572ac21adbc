"""From heat maps to keypoints, to a fraction of a pixel.

A keypoint is where its heat map is highest. The map is smoothed first, and of its logarithm one Newton step is made:
a Gaussian's logarithm is a parabola, whose top the step meets.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from sharedmodel.tensor import Array

from .pictures import Frame

KERNEL: Final = 11
_SIGMA: Final = 2.0  # that of a kernel of 11
_LOWEST, _HIGHEST = 1e-3, 50.0
_TINY: Final = float(np.finfo(np.float32).eps)
NOWHERE: Final = -1.0


def keypoints_of(heatmaps: Array, frame: Frame) -> tuple[Array, Array]:
    """Places (keypoints, 2) in the picture, x and y in pixels, and scores (keypoints,), both float32, of heat maps
    (keypoints, height, width). (-1, -1) where a heat map is nowhere above 0.
    """
    count, height, width = heatmaps.shape
    scores = heatmaps.reshape(count, -1).max(1)
    places = np.full((count, 2), NOWHERE)
    for number in np.flatnonzero(scores > 0):
        found = _top(heatmaps[number], scores[number])
        places[number] = found / (width - 1, height - 1) * frame.size + frame.centre - frame.size / 2
    return places.astype(np.float32), scores.astype(np.float32)


def _top(heatmap: Array, score: Any) -> Array:
    """x and y in the heat map."""
    y, x = np.unravel_index(heatmap.argmax(), heatmap.shape)
    near = _around(heatmap, int(x), int(y), float(score))
    slope_x, slope_y = (near[1, 2] - near[1, 0]) / 2, (near[2, 1] - near[0, 1]) / 2
    bend_x = near[1, 2] - 2 * near[1, 1] + near[1, 0] + _TINY
    bend_y = near[2, 1] - 2 * near[1, 1] + near[0, 1] + _TINY
    across = near[1, 1] + (near[2, 2] + near[0, 0] - near[1, 2] - near[1, 0] - near[2, 1] - near[0, 1]) / 2
    area = bend_x * bend_y - across * across
    if area == 0:  # a ridge: no step is better than another
        return np.array([x, y], np.float64)
    step = np.array([bend_y * slope_x - across * slope_y, bend_x * slope_y - across * slope_x]) / area
    found: Array = np.array([x, y]) - step
    return found


def _around(heatmap: Array, x: int, y: int, score: float) -> Array:
    """The logarithm of the smoothed map at a place and its eight neighbours, (3, 3); beyond an edge it goes on."""
    import cv2

    smooth = cv2.GaussianBlur(heatmap, (KERNEL, KERNEL), _SIGMA, borderType=cv2.BORDER_CONSTANT)
    rows = np.clip([y - 1, y, y + 1], 0, heatmap.shape[0] - 1)
    columns = np.clip([x - 1, x, x + 1], 0, heatmap.shape[1] - 1)
    highest = float(smooth.max())
    # Smoothing may leave nothing above 0 of a peak among negative values: then there is nothing to refine.
    scale = score / highest if highest > 0 else 0.0
    nine = smooth[np.ix_(rows, columns)].astype(np.float64) * scale
    found: Array = np.log(np.clip(nine, _LOWEST, _HIGHEST))
    return found
