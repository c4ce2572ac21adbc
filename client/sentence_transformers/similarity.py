"""How alike vectors are: each of some with each of others, or pair by pair. torch is imported by the first call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any, Final


class SimilarityFunction(Enum):
    """Names of the functions."""

    COSINE = "cosine"
    DOT_PRODUCT = "dot"
    DOT = "dot"  # noqa: PIE796 - both names are in use
    EUCLIDEAN = "euclidean"
    MANHATTAN = "manhattan"

    @staticmethod
    def possible_values() -> list[str]:
        """All of the names."""
        return [function.value for function in SimilarityFunction]


def similarity(name: str, one: Any, other: Any) -> Any:
    """A tensor (n, m) of vectors (n, size) and (m, size); a single vector counts as one of one."""
    return _EACH[name](_rows(one), _rows(other))


def pairwise(name: str, one: Any, other: Any) -> Any:
    """A tensor (n) of vectors (n, size) twice."""
    return _PAIRS[name](_tensor(one), _tensor(other))


def checked(name: Any, owner: str) -> str | None:
    """A name, or None for none. Raises ValueError for a function that there is not."""
    if isinstance(name, Enum):
        name = name.value
    if name is not None and name not in _EACH:
        raise ValueError(f"{owner} only supports similarity_fn_name in {tuple(_EACH)}, got {name!r}.")
    return None if name is None else str(name)


def _tensor(vectors: Any) -> Any:
    import numpy as np
    import torch

    if isinstance(vectors, list) and vectors and all(isinstance(vector, torch.Tensor) for vector in vectors):
        vectors = torch.stack(vectors)
    elif isinstance(vectors, list) and vectors and all(isinstance(vector, np.ndarray) for vector in vectors):
        vectors = torch.from_numpy(np.stack(vectors))
    elif not isinstance(vectors, torch.Tensor):
        vectors = torch.as_tensor(vectors)
    short = torch.is_floating_point(vectors) and torch.finfo(vectors.dtype).bits < 32
    return vectors.float() if short else vectors


def _rows(vectors: Any) -> Any:
    tensor = _tensor(vectors)
    return tensor.unsqueeze(0) if tensor.dim() == 1 else tensor


def _scaled(tensor: Any) -> Any:
    import torch

    return torch.nn.functional.normalize(tensor, p=2, dim=-1)


def _distance(one: Any, other: Any, p: float) -> Any:
    import torch

    return -torch.cdist(one, other, p=p)


_EACH: Final[Mapping[str, Callable[[Any, Any], Any]]] = MappingProxyType(
    {
        "cosine": lambda one, other: _scaled(one) @ _scaled(other).T,
        "dot": lambda one, other: one @ other.T,
        "euclidean": lambda one, other: _distance(one, other, 2.0),
        "manhattan": lambda one, other: _distance(one, other, 1.0),
    }
)
_PAIRS: Final[Mapping[str, Callable[[Any, Any], Any]]] = MappingProxyType(
    {
        "cosine": lambda one, other: (_scaled(one) * _scaled(other)).sum(dim=-1),
        "dot": lambda one, other: (one * other).sum(dim=-1),
        "euclidean": lambda one, other: -(one - other).square().sum(dim=-1).sqrt(),
        "manhattan": lambda one, other: -(one - other).abs().sum(dim=-1),
    }
)
