"""Inputs that come one after the other: of a generator, or of a data set, an object with a length and items."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any

import numpy as np


def streamed(inputs: Any) -> Iterator[Any] | None:
    """The inputs one by one, of a generator or of a data set such as torch's; None of anything else."""
    if isinstance(inputs, types.GeneratorType):
        return inputs
    if isinstance(inputs, str | list | tuple | dict | np.ndarray | bytes) or hasattr(inputs, "shape"):
        return None
    if not hasattr(inputs, "__getitem__") or not hasattr(inputs, "__len__"):
        return None
    return (inputs[number] for number in range(len(inputs)))
