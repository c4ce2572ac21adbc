"""What may be encoded: texts and pairs of texts, in all the forms that sentence-transformers takes them in."""

from __future__ import annotations

from typing import Any

import numpy as np

from sharedmodel.client.texts import Text, crossing


def is_single(inputs: Any) -> bool:
    """Whether it is one example, rather than several."""
    if isinstance(inputs, list | tuple):
        return bool(inputs) and isinstance(inputs, list) and _is_message(inputs[0])
    return not (isinstance(inputs, np.ndarray) and inputs.ndim >= 1 and inputs.dtype.kind in "UO")


def texts_of(inputs: Any) -> list[Text]:
    """The texts of several examples. Raises ValueError for what is none, as sentence-transformers does."""
    return [_text(item) for item in (inputs.tolist() if isinstance(inputs, np.ndarray) else list(inputs))]


def _text(item: Any) -> Text:
    if isinstance(item, str):
        return crossing(item)
    if isinstance(item, dict) and item.keys() == {"text"} and isinstance(item["text"], str):
        return crossing(item["text"])
    if isinstance(item, list | tuple) and len(item) == 2 and all(isinstance(part, str) for part in item):
        return [crossing(part) for part in item]
    if _is_message(item) or (isinstance(item, list) and item and _is_message(item[0])):
        raise ValueError(
            "This SentenceTransformer model does not support chat-style 'message' inputs (dicts or lists of dicts "
            "with 'role' and 'content'). Supported modalities: text."
        )
    if isinstance(item, np.ndarray) and item.ndim in (1, 2):
        raise ValueError(
            "Modality 'audio' is not supported by this SentenceTransformer model. Supported modalities: text."
        )
    raise ValueError(
        f"Unsupported input type: {type(item).__name__}. "
        "Expected one of: str, dict, PIL.Image.Image, np.ndarray, torch.Tensor"
    )


def _is_message(item: Any) -> bool:
    return isinstance(item, dict) and "role" in item and "content" in item
