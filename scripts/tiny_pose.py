"""Makes a tiny torchscript that looks like a Sapiens pose model, for tests and examples; it knows nothing of people.

    python -m scripts.tiny_pose --to out/tiny-pose.pt2

In: images (rows, 3, height, width). Out: 133 heat maps (rows, 133, height / 4, width / 4), each with one round hill,
whose place depends on how bright the quarters of the image are. The same seed gives the same model.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

KEYPOINTS = 133
SCALE = 4
_QUARTERS = 4


def make(path: Path, seed: int = 0) -> Path:
    """Write the model; its path."""
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        traced = torch.jit.trace(_pose(torch, seed).eval(), torch.zeros(2, 3, 64, 48), check_trace=False)
    torch.jit.save(traced, str(path))
    return path


def _pose(torch: Any, seed: int) -> Any:
    chance = torch.Generator().manual_seed(seed)

    class Pose(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("base", torch.rand(2, KEYPOINTS, generator=chance) * 0.6 + 0.2)
            self.register_buffer("pull", torch.randn(2, 3 * _QUARTERS, KEYPOINTS, generator=chance) * 0.02)
            self.register_buffer("high", torch.rand(KEYPOINTS, generator=chance) * 0.8 + 0.1)
            self.register_buffer("wide", torch.rand(KEYPOINTS, generator=chance) + 1.5)

        def forward(self, images: Any) -> Any:
            small = torch.nn.functional.avg_pool2d(images, SCALE)
            seen = torch.nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)
            centres = self.base[:, None] + torch.matmul(seen, self.pull).clamp(-0.15, 0.15)
            ones = torch.ones_like(small[:, :1])
            rows, columns = ones.cumsum(2) - 1, ones.cumsum(3) - 1
            y = rows - (centres[0] * small.size(2))[:, :, None, None]
            x = columns - (centres[1] * small.size(3))[:, :, None, None]
            width = self.wide[None, :, None, None]
            return self.high[None, :, None, None] * torch.exp(-(x * x + y * y) / (2 * width * width))

    return Pose()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--to", type=Path, default=Path("out/tiny-pose.pt2"), metavar="FILE")
    print(make(parser.parse_args(arguments).to))


if __name__ == "__main__":
    main()
