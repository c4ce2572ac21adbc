"""What a tokenizer gives: rows of token ids and their masks, as lists or as arrays."""

from __future__ import annotations

from collections import UserDict
from typing import Any

import numpy as np


class BatchEncoding(UserDict[str, Any]):
    """A dict whose values are attributes as well; `to` is there for programs that call it."""

    def __getattr__(self, name: str) -> Any:
        data = self.__dict__.get("data", {})
        if name not in data:
            raise AttributeError(name)
        return data[name]

    def to(self, device: Any = None, **_: Any) -> BatchEncoding:
        """Where the model runs is the host's choice: this does nothing."""
        return self


def formed(rows: list[list[int]], kind: str | None) -> Any:
    """Lists as they are, "pt": a tensor, "np": an array. Raises ValueError for rows of different lengths."""
    if kind is None:
        return rows
    if len({len(row) for row in rows}) > 1:
        raise ValueError(
            "Unable to create tensor, you should probably activate truncation and/or padding with 'padding=True' "
            "'truncation=True' to have batched tensors with the same length."
        )
    array = np.array(rows, np.int64)
    if kind == "np":
        return array
    import torch

    return torch.from_numpy(array)


def listed(value: Any) -> Any:
    """Token ids of tensors, arrays and lists as lists."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return [listed(each) for each in value] if isinstance(value, list | tuple) else value
