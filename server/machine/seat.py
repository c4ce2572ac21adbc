"""Where a model is to run: what a configuration may say, and what comes of it."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from .governor import CPU

CUDA: Final = "cuda"  # whichever GPU has room
_GPU: Final = re.compile(rf"{CUDA}:(0|[1-9]\d*)")


class Seat(NamedTuple):
    """One device, "cpu" or "cuda:0", and the most bytes of it that a model's library may take; None: no limit."""

    device: str = CPU
    memory: int | None = None


def wanted(text: str) -> str:
    """A device as a model's table has it. Raises ValueError."""
    if text not in (CPU, CUDA) and not _GPU.fullmatch(text):
        raise ValueError('a device is "cpu", "cuda" (the GPU that has most room) or "cuda:0" (a certain one)')
    return text


def gpu(text: str) -> str:
    """The name of a certain GPU. Raises ValueError."""
    if not _GPU.fullmatch(text):
        raise ValueError('a GPU is named "cuda:0"')
    return text


def number_of(device: str) -> int:
    """Of a GPU, as CUDA counts them in a process."""
    return int(device.partition(":")[2] or 0)
