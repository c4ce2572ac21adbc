"""What a translator may be given: folders, texts, masks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from ..embedding.files import read_json

_KIND: Final = "marian"


def config_of(folder: str) -> dict[str, Any]:
    """What a model's folder says of it. Raises FileNotFoundError, and ValueError for another model than Marian's."""
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"no such folder: {folder}")
    config = read_json(folder, "config.json")
    if config.get("model_type") != _KIND:
        raise ValueError(
            f"the model in {folder} is of the type {config.get('model_type')!r}; what translates is of {_KIND!r}"
        )
    return config


def texts_of(given: Any) -> list[str]:
    """Texts, of one text or of several. Raises TypeError for what is none."""
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise TypeError(f"a text is a string, and several are a list of strings; not {type(given).__name__}")
    return [*texts]


def unpadded(row: Sequence[int], mask: Sequence[int]) -> Sequence[int]:
    """A row of token ids without its padding. Raises ValueError for a mask that is none."""
    array = np.asarray(mask, bool)
    if array.shape != (len(row),) or (np.diff(array.astype(np.int8)) > 0).any():
        raise ValueError("a mask has a 1 for each token of its row, and a 0 for padding on the right")
    return row[: int(array.sum())]
